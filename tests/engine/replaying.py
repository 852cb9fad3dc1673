"""Executions that leave memory after each settlement they record, so that their code goes on by replay."""

from __future__ import annotations

from everstep.engine.execution.execution import Execution
from everstep.engine.execution.phase import Phase


def interrupted(execution: Execution) -> bool:
    """Whether an execution may leave memory now: its code has yet to hear of a settlement, and nothing is under way."""
    return execution.phase is Phase.RUNNING and not execution.active and execution.pause.since is None
