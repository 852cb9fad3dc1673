"""An order that waits for its approval."""

from __future__ import annotations

from typing import Any

from everstep import WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Order(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> str:
        total = await step.do("price", price, event.payload["items"])
        decision = await step.wait_for_event("approval", "order.approval", timeout="1 day")
        return f"{total} {self.env.CURRENCY}, {'approved' if decision.payload else 'refused'}"


def price(items: int) -> int:  # a plain function runs in a thread: Django's ORM may be used here
    return 5 * items
