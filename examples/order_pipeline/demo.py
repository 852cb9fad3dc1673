"""Four orders through the pipeline: one straight through, one retried, one approved by a manager, one cut by kill -9.

    python examples/order_pipeline/demo.py [--once] [--port 8787] [--state DIR]

Starts the stand-ins and `everstep dev`, draws every order's timeline and counts what happened in the world. Delays are
short here (see `VARIABLES`). With --once it ends by itself, with exit code 0 if every order ended as it should.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from playground import Playground, PlaygroundError, termination_as_interrupt
from timeline import LEGEND, timeline

VARIABLES = {"RETRY_DELAY": "1 second", "SHIPPING_DELAY": "3 seconds"}
EFFECTS = ("charges", "reservations", "emails")

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Order:
    """One order of the demo, what it is to show, and how often the payment service must have been called for it."""

    id: str
    title: str
    payment_calls: int
    cents: int = 1999

    @property
    def params(self) -> dict[str, Any]:
        return {
            "orderId": self.id,
            "customerId": "cust_42",
            "customerEmail": "ada@example.com",
            "paymentToken": "tok_fake_visa",
            "items": [{"sku": "TSHIRT-RED-L", "quantity": 2, "unitPriceCents": self.cents}],
        }


def main() -> int:
    options = arguments()
    with termination_as_interrupt(), ExitStack() as cleanup:
        state = options.state or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="everstep-demo-")))
        try:
            shop = cleanup.enter_context(Playground(state, options.port, VARIABLES))
            good = tell(shop)
            if not options.once:
                stay_open(shop)
        except PlaygroundError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("demo: interrupted", file=sys.stderr)
            return 130
    return 0 if good else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Four orders through the pipeline, one of them cut by kill -9.")
    parser.add_argument("--once", action="store_true", help="end after the four orders")
    parser.add_argument("--port", type=int, default=8787, help="where the shop is served (8787)")
    parser.add_argument("--state", type=Path, help="directory for the database and the logs (a temporary one)")
    options: argparse.Namespace = parser.parse_args()
    if options.state:
        options.state = options.state.resolve()
    return options


def tell(shop: Playground) -> bool:
    """Run the four orders and show each one. Returns whether all of them ended as they should."""
    run = secrets.token_hex(2)
    plain = Order(f"ord_{run}_plain", "An order goes straight through", payment_calls=1)
    retried = Order(f"ord_{run}_retried", "The payment service answers 503 twice", payment_calls=3)
    approved = Order(f"ord_{run}_approved", "An expensive order waits for a manager", payment_calls=1, cents=42_000)
    crashed = Order(f"ord_{run}_crashed", "kill -9 while the card is being charged", payment_calls=2)

    console.print(f"The shop is open at {shop.dev.url}, its inspector at {shop.dev.url}/__workflows")
    console.print(f"Retry delays start at {VARIABLES['RETRY_DELAY']}; shipping takes {VARIABLES['SHIPPING_DELAY']}.")
    console.print(LEGEND)

    shop.order_fault("payments", fail_next=2, status=503, only_id=retried.id)
    for order in (plain, retried, approved):
        place(shop, order)
    results = [show(shop, 1, plain)]
    approve(shop, approved)
    results += [show(shop, 2, retried), show(shop, 3, approved)]
    place_and_crash(shop, crashed)
    results += [show(shop, 4, crashed)]

    console.print(f"\n{sum(results)} of {len(results)} orders ended as they should.")
    return all(results)


def place(shop: Playground, order: Order) -> None:
    response = shop.post("/orders", order.params)
    if response.is_error:
        raise shop.dev.failure(f"POST /orders was answered {response.status_code}: {response.text[:500]}")


def approve(shop: Playground, order: Order) -> None:
    shop.wait_until(order.id, "waiting")
    response = shop.post("/orders/approve", {"approved": True}, id=order.id)
    if response.is_error:
        raise shop.dev.failure(f"POST /orders/approve was answered {response.status_code}: {response.text[:500]}")


def place_and_crash(shop: Playground, order: Order) -> None:
    """Kill the dev server after the card was charged and before it heard of it: the worst moment there is."""
    shop.order_fault("payments", status=200, delay_ms=2000, only_id=order.id)
    place(shop, order)
    shop.dev.wait_for("the card to be charged", lambda: shop.ledger(order.id)["charges"], timeout=10)
    time.sleep(1)
    shop.dev.kill()
    killed = time.monotonic()
    shop.start_dev()
    console.print(f"\nkill -9 … and `everstep dev` is back after {time.monotonic() - killed:.1f} s; nobody touches it.")


def show(shop: Playground, number: int, order: Order) -> bool:
    """Wait for the order's end, draw it, and say whether all is as it should be."""
    with waiting_for(order):
        shop.wait_until(order.id, "complete", "errored", "terminated")
    console.print(f"\n{number}. {order.title}", style="bold")
    for line in timeline(order.id, shop.instance(order.id)):
        console.print(paint(line))
    problems = complaints(shop, order)
    for problem in problems:
        console.print(f"  WRONG: {problem}", style="bold red")
    if not problems:
        console.print(
            f"  calls of the payment service: {order.payment_calls}; charges: 1, reservations: 1, e-mails: 1",
            style="green",
        )
    return not problems


def waiting_for(order: Order) -> AbstractContextManager[object]:
    """Show on a terminal that an order is waited for; a pipe gets its timeline alone."""
    return console.status(f"{order.id} is under way …") if console.is_terminal else nullcontext()


def complaints(shop: Playground, order: Order) -> list[str]:
    """What is not as it should be: the outcome, or anything that happened more or less often than once."""
    status, ledger = shop.status(order.id), shop.ledger(order.id)
    found = [f"{len(ledger[kind])} {kind} instead of 1" for kind in EFFECTS if len(ledger[kind]) != 1]
    calls = sum(call["service"] == "payments" for call in ledger["calls"])
    if calls != order.payment_calls:
        found.append(f"{calls} calls of the payment service instead of {order.payment_calls}")
    if status["status"] != "complete" or status["output"].get("status") != "completed":
        found.append(f"it ended as {status['status']} with output {status['output']} and error {status['error']}")
    return found


def paint(line: str) -> Text:
    """Colours for a terminal; a pipe gets the plain line."""
    text = Text(line)
    text.highlight_regex(r"failed: .*|errored.*|(?<=│)x|x(?=[x·━│])", "red")
    text.highlight_regex(r"━+|\bok$|complete after", "green")
    text.highlight_regex(r"·+|─+|attempt \d+", "dim")
    return text


def stay_open(shop: Playground) -> None:
    console.print(f"The shop stays open: {shop.dev.url}/__workflows   Ctrl-C ends it.")
    try:
        shop.dev.wait_for("Ctrl-C", lambda: None, timeout=float("inf"))
    except KeyboardInterrupt:
        console.print("\nClosing the shop.")


if __name__ == "__main__":
    sys.exit(main())
