"""The order pipeline as a library, against stand-ins on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from index import OrderPipeline
from orders import OrderParams

from everstep import Everstep, NonRetryableError, WorkflowInstance

PATIENCE = "10 seconds"


class Shop:
    """An engine that runs the pipeline, and its stand-ins."""

    def __init__(self, es: Everstep, standins: Any) -> None:
        self._es = es
        self.standins = standins

    async def place(self, order: dict[str, Any]) -> WorkflowInstance:
        params = msgspec.convert(order, OrderParams)
        return await self._es.workflow(OrderPipeline).create(id=params.order_id, params=params)

    def effects(self) -> dict[str, int]:
        return {service: self.standins.effects(service) for service in ("payments", "inventory", "email")}


EACH_ONCE = {"payments": 1, "inventory": 1, "email": 1}
NOTHING = {"payments": 0, "inventory": 0, "email": 0}


@pytest.fixture
async def shop(standins: Any, tmp_path: Path) -> AsyncIterator[Shop]:
    database = f"sqlite:///{tmp_path / 'state.db'}"
    async with Everstep([OrderPipeline], database=database, env=standins.env) as es:
        yield Shop(es, standins)


def expensive(order: dict[str, Any]) -> dict[str, Any]:
    return {**order, "items": [{"sku": "SOFA", "quantity": 1, "unitPriceCents": 50_001}]}


async def test_a_valid_order_is_charged_reserved_and_confirmed_once(shop: Shop, order_json: Any) -> None:
    instance = await shop.place(order_json())
    output = await instance.result(PATIENCE)

    effects = shop.standins.ledger.effects
    charge = next(effect for effect in effects if effect.service == "payments")
    reservation = next(effect for effect in effects if effect.service == "inventory")
    assert output == {"status": "completed", "transactionId": charge.id, "reservationId": reservation.id}
    assert shop.effects() == EACH_ONCE


async def test_its_steps_have_the_tutorials_names_in_order(shop: Shop, order_json: Any) -> None:
    instance = await shop.place(order_json())
    await instance.result(PATIENCE)

    status = await instance.status(steps=True)
    assert [step.name for step in status.steps] == [
        "validate-order",
        "charge-payment",
        "reserve-inventory",
        "wait-next-business-day",
        "send-confirmation",
    ]


async def test_every_call_carries_a_key_of_the_instance_and_the_step(shop: Shop, order_json: Any) -> None:
    instance = await shop.place(order_json("ord_7"))
    await instance.result(PATIENCE)

    assert [call.key for call in shop.standins.ledger.calls] == [
        "ord_7:charge-payment-1",
        "ord_7:reserve-inventory-1",
        "ord_7:send-confirmation-1",
    ]


async def test_an_empty_order_is_refused_at_once(shop: Shop, order_json: Any) -> None:
    instance = await shop.place(order_json(items=[]))
    with pytest.raises(NonRetryableError, match="Order has no items"):
        await instance.result(PATIENCE)

    status = await instance.status(steps=True)
    assert status.status == "errored"
    assert len(status.steps[0].attempts) == 1


@pytest.mark.parametrize("quantity", [0, -1])
async def test_an_order_of_nothing_or_less_is_refused_at_once(shop: Shop, order_json: Any, quantity: int) -> None:
    items = [{"sku": "TSHIRT-RED-L", "quantity": quantity, "unitPriceCents": 1999}]
    instance = await shop.place(order_json(items=items))
    with pytest.raises(NonRetryableError, match="must be positive"):
        await instance.result(PATIENCE)

    assert shop.effects() == NOTHING


@pytest.mark.parametrize("service", ["payments", "inventory"])
async def test_a_service_that_fails_twice_is_tried_again_and_acts_once(
    shop: Shop, order_json: Any, service: str
) -> None:
    shop.standins.order_fault(service=service, fail_next=2)
    instance = await shop.place(order_json())
    await instance.result(PATIENCE)

    assert shop.standins.calls(service) == 3
    assert shop.effects() == EACH_ONCE


async def test_a_declined_card_is_not_tried_again(shop: Shop, order_json: Any) -> None:
    instance = await shop.place(order_json(paymentToken="tok_declined"))
    with pytest.raises(NonRetryableError, match="declined"):
        await instance.result(PATIENCE)

    assert shop.standins.calls("payments") == 1
    assert shop.effects() == NOTHING


async def test_payment_errors_are_given_up_after_six_attempts(shop: Shop, order_json: Any) -> None:
    shop.standins.order_fault(service="payments", fail_next=100)
    instance = await shop.place(order_json())
    with pytest.raises(Exception, match="Payment failed: 503"):
        await instance.result(PATIENCE)

    assert shop.standins.calls("payments") == 6


async def test_an_expensive_order_waits_for_a_manager(shop: Shop, order_json: Any) -> None:
    instance = await shop.place(expensive(order_json()))
    await instance.send_event(type="order.approval", payload={"approved": True})
    output = await instance.result(PATIENCE)

    assert output["status"] == "completed"
    assert [step.name for step in (await instance.status(steps=True)).steps][1] == "wait-for-manager-approval"


async def test_a_rejected_order_ends_without_a_charge(shop: Shop, order_json: Any) -> None:
    instance = await shop.place(expensive(order_json()))
    await instance.send_event(type="order.approval", payload={"approved": False})

    assert await instance.result(PATIENCE) == {"status": "rejected"}
    assert shop.effects() == NOTHING


async def test_exactly_the_threshold_needs_no_approval(shop: Shop, order_json: Any) -> None:
    instance = await shop.place(order_json(items=[{"sku": "CHAIR", "quantity": 1, "unitPriceCents": 50_000}]))

    assert (await instance.result(PATIENCE))["status"] == "completed"
