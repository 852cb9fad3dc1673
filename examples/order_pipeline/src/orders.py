"""What flows through the pipeline: orders, approvals, receipts and reservations. Types only; nothing is called here."""

from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from everstep import InvalidParamsError

T = TypeVar("T")

OrderId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}\Z")]
"""The order's id is also its instance's id, so it follows the rule for those."""


class OrderItem(msgspec.Struct, rename="camel", frozen=True):
    sku: str
    quantity: int
    unit_price_cents: int


class OrderParams(msgspec.Struct, rename="camel", frozen=True):
    order_id: OrderId
    customer_id: str
    customer_email: str
    payment_token: str
    items: list[OrderItem]

    @property
    def total_cents(self) -> int:
        return sum(item.unit_price_cents * item.quantity for item in self.items)


class Approval(msgspec.Struct, frozen=True):
    approved: bool


class PaymentReceipt(msgspec.Struct, rename="camel", frozen=True):
    transaction_id: str
    charged_cents: int
    charged_at: datetime


class InventoryReservation(msgspec.Struct, rename="camel", frozen=True):
    reservation_id: str
    reserved_at: datetime


def parse(body: bytes, type: type[T]) -> T:
    """Read a JSON request body as `type`; what does not fit is answered with 400 and the reason."""
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.MsgspecError as error:
        raise InvalidParamsError(f"the request body is not a valid {type.__name__}: {error}") from error
