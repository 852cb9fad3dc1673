"""The interpreter's settings: changed only for a process that belongs to the engine, and put back."""

from __future__ import annotations

import gc
import sys

import pytest

from everstep import Everstep, WorkflowEntrypoint


class Plain(WorkflowEntrypoint):
    async def run(self, event, step):
        return sys.getswitchinterval(), gc.get_threshold()[0]


@pytest.mark.parametrize("owns", [False, True])
async def test_the_interpreter_is_settled_for_an_engine_that_owns_the_process(owns):
    gc.unfreeze()  # what an earlier test may have left
    before = sys.getswitchinterval(), gc.get_threshold()
    async with Everstep([Plain], database="sqlite:///:memory:", owns_process=owns) as es:
        seen = await (await es.workflow(Plain).create()).result()
    assert (seen != [before[0], before[1][0]] and seen != (before[0], before[1][0])) is owns
    assert (sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()) == (*before, 0)
