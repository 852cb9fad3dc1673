"""What is checked before anything new runs: that the code follows its own history, and keeps within its limits."""

from __future__ import annotations

import asyncio

from everstep.core.errors import EverstepError, NonDeterminismError, StepLimitError, StorageLimitError, Suspended
from everstep.core.journal import StepRecord
from everstep.core.limits import STORED_BYTES
from everstep.engine.execution.execution import Execution

_REPLAY_TURNS = 20
_REPLAY_SECONDS = 0.5


def unhindered(run: Execution) -> bool:
    """Whether a new step may begin without a closer look, as nearly always."""
    return run.journal.replayed and run.steps_asked < run.step_limit and run.stored_bytes <= STORED_BYTES


async def check_new(run: Execution, call: str, name: str) -> None:
    """Stop the instance if its history says that another step comes first."""
    if run.journal.replayed or (expected := await _never_asked_for(run)) is None:
        return
    recorded = f"{_CALLS[expected.kind]}({expected.name!r})"
    number = f" (the {expected.count}. of that name)" if expected.count > 1 else ""
    await run.host.fail_nondeterministic(
        run,
        NonDeterminismError(
            f"the code asks for {call}({name!r}), where the history of instance {run.instance.id!r} has "
            f"{recorded}{number}; nothing was run. Bring the code back in line with it and resume the instance, "
            "or restart it"
        ),
    )
    raise Suspended


async def check_limits(run: Execution, name: str) -> None:
    """End the instance before it takes more than it may."""
    run.steps_asked += 1
    limit = run.step_limit
    if run.steps_asked > limit:
        error: EverstepError = StepLimitError(
            f"the limit of {limit} steps was reached at step {name!r}; raise limits.steps of workflow "
            f"{run.instance.workflow!r}, or split the work into child workflows"
        )
    elif run.stored_bytes > STORED_BYTES:
        error = StorageLimitError(
            f"the results of instance {run.instance.id!r} take {run.stored_bytes} bytes at step {name!r}, and an "
            f"instance may store {STORED_BYTES}; keep large data elsewhere and return references to it"
        )
    else:
        return
    await run.host.fail(run, error)
    raise Suspended


async def _never_asked_for(run: Execution) -> StepRecord | None:
    """Wait while other branches may still ask for what is recorded; return what nobody asks for, if anything.

    Branches arrive in an order of their own, so a new step in one of them says nothing until the others had their
    turn. The coroutine itself, when it is the one that asks, has no other branch to wait for but those that are
    ready to run; one of several gets a moment more, as another may await something that is no step.
    """
    patience = 0.0 if asyncio.current_task() is run.task else _REPLAY_SECONDS
    deadline = run.host.loop.time() + patience
    turns = 0
    run.active += 1  # not to be put away before the contradiction is told
    try:
        while (unasked := run.journal.unasked()) is not None:
            if turns >= _REPLAY_TURNS and run.host.loop.time() >= deadline:
                return unasked
            turns += 1
            await asyncio.sleep(0 if turns < _REPLAY_TURNS else _REPLAY_SECONDS / 20)
            run.check_alive()
        return None
    finally:
        run.active -= 1
        run.settle()


_CALLS = {
    "do": "step.do",
    "sleep": "step.sleep",
    "wait": "step.wait_for_event",
    "child": "step.run_workflow",
    "value": "step.now, uuid or random",
    "rollback": "a rollback of",
}
