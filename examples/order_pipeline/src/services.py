"""The calls to the outside: payments, inventory and e-mail. Trying again is not done here: that is the steps' part."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx
from everstep import NonRetryableError, current_step

from orders import InventoryReservation, OrderParams, PaymentReceipt


class ServiceError(Exception):
    """A service was unreachable or answered with an error, so the step should try again."""


class PaymentError(ServiceError):
    pass


class InventoryError(ServiceError):
    pass


class EmailError(ServiceError):
    pass


async def charge_card(order: OrderParams, api_url: str, api_key: str) -> PaymentReceipt:
    response = await post(
        f"{api_url}/charge",
        {"token": order.payment_token, "amount": order.total_cents, "currency": "USD"},
        headers={"Authorization": f"Bearer {api_key}"},
        error=PaymentError,
    )
    if response.status_code == HTTPStatus.PAYMENT_REQUIRED:
        raise NonRetryableError(f"The card of order {order.order_id} was declined")
    if not response.is_success:
        raise PaymentError(f"Payment failed: {response.status_code}")
    charge = response.json()
    return PaymentReceipt(charge["id"], charge["amount"], charged_at=datetime.now(UTC))


async def reserve_inventory(order: OrderParams, api_url: str) -> InventoryReservation:
    items = [{"sku": item.sku, "quantity": item.quantity} for item in order.items]
    response = await post(
        f"{api_url}/reservations",
        {"orderId": order.order_id, "items": items},
        error=InventoryError,
    )
    if not response.is_success:
        raise InventoryError(f"Inventory error: {response.status_code}")
    return InventoryReservation(response.json()["id"], reserved_at=datetime.now(UTC))


async def send_email(to: str, receipt: PaymentReceipt, reservation: InventoryReservation, api_url: str) -> None:
    text = f"Charged {receipt.charged_cents} cents. Reservation: {reservation.reservation_id}"
    response = await post(
        f"{api_url}/send",
        {"to": to, "subject": "Order confirmation", "body": text},
        error=EmailError,
    )
    if not response.is_success:
        raise EmailError(f"E-mail failed: {response.status_code}")


async def post(
    url: str, body: dict[str, Any], *, error: type[ServiceError], headers: dict[str, str] | None = None
) -> httpx.Response:
    headers = {"Idempotency-Key": idempotency_key(), **(headers or {})}
    # No read timeout here: how long an attempt may take is said once, in the step's configuration.
    async with httpx.AsyncClient(timeout=httpx.Timeout(None, connect=5)) as client:
        try:
            return await client.post(url, json=body, headers=headers)
        except httpx.HTTPError as cause:
            raise error(f"{url} could not be reached: {cause or type(cause).__name__}") from cause


def idempotency_key() -> str:
    """The same for every attempt of this step, so that an attempt interrupted by a crash never charges twice."""
    here = current_step()
    return f"{here.instance_id}:{here.step.name}-{here.step.count}"
