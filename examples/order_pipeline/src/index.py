"""The order pipeline: one workflow, and the web routes that start, inspect and control its instances."""

from datetime import UTC, datetime

from everstep import (
    Env,
    NonRetryableError,
    Request,
    Response,
    WorkerEntrypoint,
    Workflow,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowInstance,
    WorkflowStep,
)

from business_days import next_business_day
from orders import Approval, OrderParams, parse
from services import charge_card, reserve_inventory, send_email

APPROVAL_THRESHOLD_CENTS = 50_000


class ShopEnv(Env):
    ORDER_PIPELINE: Workflow[OrderParams]
    PAYMENT_API_KEY: str
    PAYMENT_API_URL: str
    INVENTORY_API_URL: str
    EMAIL_API_URL: str
    SHIPPING_DELAY: str = "next business day"  # or a duration such as "5 seconds"
    RETRY_DELAY: str = ""  # a duration such as "1 second" in place of the delays below


class OrderPipeline(WorkflowEntrypoint[ShopEnv, OrderParams]):
    async def run(self, event: WorkflowEvent[OrderParams], step: WorkflowStep) -> dict[str, str]:
        order = event.payload

        # Step 1: validate
        checked = await step.do("validate-order", validate, order)
        if checked["total"] > APPROVAL_THRESHOLD_CENTS and not await self.approved_by_manager(step):
            return {"status": "rejected"}

        # Step 2: charge payment with retries
        receipt = await step.do(
            "charge-payment",
            {
                "retries": {"limit": 5, "delay": self.env.RETRY_DELAY or "10 seconds", "backoff": "exponential"},
                "timeout": "30 seconds",
            },
            charge_card,
            order,
            self.env.PAYMENT_API_URL,
            self.env.PAYMENT_API_KEY,
        )

        # Step 3: reserve inventory
        reservation = await step.do(
            "reserve-inventory",
            {"retries": {"limit": 3, "delay": self.env.RETRY_DELAY or "5 seconds", "backoff": "exponential"}},
            reserve_inventory,
            order,
            self.env.INVENTORY_API_URL,
        )

        # Step 4: wait until the next business day
        await self.wait_for_shipping(step)

        # Step 5: confirmation email
        email = order.customer_email
        await step.do("send-confirmation", send_email, email, receipt, reservation, self.env.EMAIL_API_URL)

        return {
            "status": "completed",
            "transactionId": receipt.transaction_id,
            "reservationId": reservation.reservation_id,
        }

    async def approved_by_manager(self, step: WorkflowStep) -> bool:
        decision = await step.wait_for_event(
            "wait-for-manager-approval", type="order.approval", timeout="24 hours", payload=Approval
        )
        return decision.payload.approved

    async def wait_for_shipping(self, step: WorkflowStep) -> None:
        if self.env.SHIPPING_DELAY == "next business day":
            await step.sleep_until("wait-next-business-day", next_business_day(datetime.now(UTC)))
        else:
            await step.sleep("wait-next-business-day", self.env.SHIPPING_DELAY)


def validate(order: OrderParams) -> dict[str, int]:
    if not order.items:
        raise NonRetryableError("Order has no items")
    if order.total_cents <= 0:
        raise NonRetryableError(f"Order total must be positive, got {order.total_cents} cents")
    return {"total": order.total_cents}


class Default(WorkerEntrypoint[ShopEnv]):
    async def fetch(self, request: Request) -> Response:
        match request.method, request.url.path:
            case "POST", "/":
                instance = await self.start(request)
                return Response.json({"instanceId": instance.id, "status": await instance.status()})
            case "POST", "/orders":
                instance = await self.start(request)
                return Response.json({"instanceId": instance.id})
            case _, "/":
                return Response("Use POST to start an order", status_code=405, headers={"Allow": "POST"})
            case _:
                if instance_id := request.query_params.get("id"):
                    return await control(request, await self.env.ORDER_PIPELINE.get(instance_id))
                return Response("Not found", status_code=404)

    async def start(self, request: Request) -> WorkflowInstance:
        order = parse(await request.body(), OrderParams)
        return await self.env.ORDER_PIPELINE.create(id=order.order_id, params=order)


async def control(request: Request, instance: WorkflowInstance) -> Response:
    match request.method, request.url.path:
        case "GET", "/orders":
            return Response.json(await instance.status())
        case "POST", "/orders/pause":
            await instance.pause()
            return Response.json({"paused": True})
        case "POST", "/orders/resume":
            await instance.resume()
            return Response.json({"resumed": True})
        case "POST", "/orders/approve":
            approval = parse(await request.body(), Approval)
            await instance.send_event(type="order.approval", payload=approval)
            return Response.json({"delivered": True})
        case "POST", "/orders/terminate":
            await instance.terminate()
            return Response.json({"terminated": True})
        case "POST", "/orders/restart":
            await instance.restart()
            return Response.json({"restarted": True})
        case _:
            return Response("Not found", status_code=404)
