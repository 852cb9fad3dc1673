"""A program for the crash tests: a parent of three children, in a process that may kill itself while it moves them.

python family.py DATABASE VERB MOMENT N     dies by SIGKILL at the N-th commit after the verb was asked for
python family.py DATABASE                   goes on with what is there, and prints who is in which status
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any

from dying import Death, dying_store

from everstep import Everstep, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Kid(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.wait_for_event("go", "go", timeout="1 hour")


class Dad(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        await asyncio.gather(*(step.run_workflow(f"kid {number}", Kid) for number in range(3)))


async def statuses(es: Everstep) -> dict[str, dict[str, int]]:
    return await es.control.counts()


def quiet(counts: dict[str, dict[str, int]]) -> bool:
    busy = ("queued", "running", "waitingForPause")
    return not any(status in busy for _, status in _each(counts))


def _each(counts: dict[str, dict[str, int]]) -> Iterator[tuple[str, str]]:
    return ((workflow, status) for workflow, by_status in counts.items() for status in by_status)


async def settle(es: Everstep, *, kids: int = 0) -> dict[str, dict[str, int]]:
    """Wait until nobody is at work, twice in a row."""
    async with asyncio.timeout(20):
        before: Any = None
        while True:
            counts = await statuses(es)
            if quiet(counts) and counts == before and sum(counts.get("kid", {}).values()) >= kids:
                return counts
            before = counts
            await asyncio.sleep(0.1)


async def main() -> None:
    database, *how = sys.argv[1:]
    death = Death()
    async with Everstep([Dad, Kid], store=dying_store(database, death)) as es:
        if not how:
            print(json.dumps(await settle(es)))
            return
        verb, moment, number = how
        dad = await es.workflow(Dad).create(id="dad")
        await settle(es, kids=3)
        death.moment, death.number = moment, death.commits + int(number)
        await getattr(dad, verb)()
        await settle(es)


asyncio.run(main())
