"""The example's calls to the outside, one by one: what they send and which errors they make of bad answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import services
from orders import OrderParams, PaymentReceipt
from services import EmailError, InventoryError, PaymentError, charge_card, reserve_inventory, send_email

from everstep import NonRetryableError


@pytest.fixture(autouse=True)
def inside_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SimpleNamespace(instance_id="ord_1", step=SimpleNamespace(name="a-step", count=1))
    monkeypatch.setattr(services, "current_step", lambda: here)


@pytest.fixture
def order(order_json: Any) -> OrderParams:
    return msgspec.convert(order_json(), OrderParams)


async def test_charging_asks_for_the_total_and_gives_a_receipt(standins: Any, order: OrderParams) -> None:
    receipt = await charge_card(order, standins.url, "sk")

    call = standins.ledger.calls[0]
    assert call.body == {"token": "tok_fake_visa", "amount": 3998, "currency": "USD"}
    assert call.key == "ord_1:a-step-1"
    assert (receipt.transaction_id, receipt.charged_cents) == (standins.ledger.effects[0].id, 3998)


async def test_a_second_attempt_gets_the_first_ones_charge(standins: Any, order: OrderParams) -> None:
    receipts = [await charge_card(order, standins.url, "sk") for _ in range(2)]

    assert receipts[0].transaction_id == receipts[1].transaction_id
    assert standins.effects("payments") == 1


async def test_bad_answers_become_each_services_error(standins: Any, order: OrderParams) -> None:
    for service in ("payments", "inventory", "email"):
        standins.order_fault(service=service, status=503)
    receipt = PaymentReceipt("ch_1", 1, charged_at=services.datetime.now(services.UTC))
    reservation = services.InventoryReservation("rsv_1", reserved_at=receipt.charged_at)

    with pytest.raises(PaymentError, match="Payment failed: 503"):
        await charge_card(order, standins.url, "sk")
    with pytest.raises(InventoryError, match="Inventory error: 503"):
        await reserve_inventory(order, standins.url)
    with pytest.raises(EmailError, match="E-mail failed: 503"):
        await send_email("ada@example.com", receipt, reservation, standins.url)


async def test_a_declined_card_is_final(standins: Any, order_json: Any) -> None:
    order = msgspec.convert(order_json(paymentToken="tok_declined"), OrderParams)

    with pytest.raises(NonRetryableError, match="order ord_1 was declined"):
        await charge_card(order, standins.url, "sk")


async def test_an_unreachable_service_is_worth_another_attempt(order: OrderParams) -> None:
    with pytest.raises(PaymentError, match=r"http://127\.0\.0\.1:9/charge could not be reached"):
        await charge_card(order, "http://127.0.0.1:9", "sk")
