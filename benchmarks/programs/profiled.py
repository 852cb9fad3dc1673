"""`python -m benchmarks.programs.profiled INSTANCES STEPS TIMES`: work to be sampled, at the engine's defaults."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from typing import Any

from benchmarks.works import STEP_RESULT
from everstep import Everstep, WorkflowEntrypoint


class Steps(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> int:
        async def charge() -> dict[str, Any]:
            return STEP_RESULT

        for number in range(event.payload):
            await step.do(f"step-{number}", charge)
        return event.payload


async def main(instances: int, steps: int, times: int) -> None:
    """Run so many instances at once, again and again."""
    with tempfile.TemporaryDirectory() as folder:
        async with Everstep([Steps], database=f"sqlite:///{folder}/state.db", owns_process=True) as es:
            workflow = es.workflow(Steps)

            async def one() -> None:
                await (await workflow.create(params=steps)).result()

            for _ in range(times):
                await asyncio.gather(*(one() for _ in range(instances)))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
