"""Looking at an instance that has stored a lot: its values are read when they are asked for."""

import tracemalloc
from pathlib import Path
from typing import Any

from everstep import Everstep, WorkflowEntrypoint
from everstep.control.control import SHOWN_CHARS

STEPS, BYTES = 40, 1_000_000


class Large(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        for number in range(STEPS):
            await step.do(f"large-{number}", lambda: "x" * (BYTES - 100))
        return STEPS


async def test_a_status_reads_no_values_and_a_view_their_beginnings(tmp_path: Path):
    async with Everstep([Large], database=f"sqlite:///{tmp_path}/state.db") as es:
        instance = await es.workflow(Large).create(id="one")
        assert await instance.result("60 seconds") == STEPS
        tracemalloc.start()
        try:
            status = await instance.status()
            _, described = await es.control.describe("large", "one", steps=False)
            _, whole = await es.control.describe("large", "one")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert status.step_count == described.step_count == STEPS
        assert most < 5 * BYTES
        last = whole.steps[-1]
        assert (len(whole.steps), len(last.output)) == (STEPS, SHOWN_CHARS)
        assert len(await es.control.whole_output("large", "one", last)) == BYTES - 100
