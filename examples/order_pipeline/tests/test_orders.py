"""The order pipeline from an order to its end, without a network: the three services are replaced."""

from datetime import UTC, datetime

import pytest
from everstep import Everstep, NonRetryableError

import index
from index import OrderPipeline
from orders import InventoryReservation, OrderItem, OrderParams, PaymentReceipt

ENV = {
    "PAYMENT_API_KEY": "test",
    "PAYMENT_API_URL": "http://unused",
    "INVENTORY_API_URL": "http://unused",
    "EMAIL_API_URL": "http://unused",
    "SHIPPING_DELAY": "0.01 seconds",
}


def an_order(*items: OrderItem) -> OrderParams:
    return OrderParams("ord_1", "cust_1", "test@example.com", "tok_test", list(items))


@pytest.fixture(autouse=True)
def emails(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the services; returns the addresses that e-mails were sent to."""
    sent: list[str] = []

    async def charge_card(order: OrderParams, *_: str) -> PaymentReceipt:
        return PaymentReceipt("ch_1", order.total_cents, charged_at=datetime.now(UTC))

    async def reserve_inventory(*_: object) -> InventoryReservation:
        return InventoryReservation("rsv_1", reserved_at=datetime.now(UTC))

    async def send_email(to: str, *_: object) -> None:
        sent.append(to)

    for fake in (charge_card, reserve_inventory, send_email):
        monkeypatch.setattr(index, fake.__name__, fake)
    return sent


async def test_a_valid_order_completes(emails: list[str]) -> None:
    async with Everstep([OrderPipeline], database="sqlite:///:memory:", env=ENV) as es:
        order = an_order(OrderItem("SKU1", quantity=1, unit_price_cents=500))
        instance = await es.workflow(OrderPipeline).create(id=order.order_id, params=order)

        output = await instance.result(timeout="10 seconds")

    assert output == {"status": "completed", "transactionId": "ch_1", "reservationId": "rsv_1"}
    assert emails == ["test@example.com"]


async def test_an_expensive_order_waits_for_the_manager() -> None:
    async with Everstep([OrderPipeline], database="sqlite:///:memory:", env=ENV) as es:
        order = an_order(OrderItem("SOFA", quantity=1, unit_price_cents=90_000))
        instance = await es.workflow(OrderPipeline).create(id=order.order_id, params=order)
        await instance.send_event(type="order.approval", payload={"approved": False})

        assert await instance.result(timeout="10 seconds") == {"status": "rejected"}


async def test_an_empty_order_fails_at_once(emails: list[str]) -> None:
    async with Everstep([OrderPipeline], database="sqlite:///:memory:", env=ENV) as es:
        instance = await es.workflow(OrderPipeline).create(params=an_order())

        with pytest.raises(NonRetryableError, match="Order has no items"):
            await instance.result(timeout="10 seconds")
    assert emails == []
