"""Makes the example importable as its users run it, and gives tests an order and running stand-ins."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn

EXAMPLE = Path(__file__).parents[2] / "examples" / "order_pipeline"
sys.path += [str(EXAMPLE), str(EXAMPLE / "src")]

from standins import Fault, Ledger, create_app  # noqa: E402  # only importable after the line above


class Standins(NamedTuple):
    url: str
    ledger: Ledger

    @property
    def env(self) -> dict[str, str]:
        """The example's environment, pointing here, without long waits."""
        urls = dict.fromkeys(("PAYMENT_API_URL", "INVENTORY_API_URL", "EMAIL_API_URL"), self.url)
        return {"PAYMENT_API_KEY": "test", "SHIPPING_DELAY": "0.01 seconds", "RETRY_DELAY": "0.01 seconds", **urls}

    def order_fault(self, **fault: Any) -> None:
        self.ledger.faults.append(Fault(**fault))

    def effects(self, service: str) -> int:
        return sum(effect.service == service for effect in self.ledger.effects)

    def calls(self, service: str) -> int:
        return sum(call.service == service for call in self.ledger.calls)


@pytest.fixture
def standins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standins]:
    """The stand-ins on a real socket, in a thread of their own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ledger = Ledger()
    server = uvicorn.Server(uvicorn.Config(create_app(ledger), port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the stand-ins did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Standins(f"http://127.0.0.1:{port}", ledger)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the stand-ins still serve a call whose caller has gone"


def order_json(order_id: str = "ord_1", **changes: Any) -> dict[str, Any]:
    order = {
        "orderId": order_id,
        "customerId": "cust_42",
        "customerEmail": "ada@example.com",
        "paymentToken": "tok_fake_visa",
        "items": [{"sku": "TSHIRT-RED-L", "quantity": 2, "unitPriceCents": 1999}],
    }
    return {**order, **changes}


@pytest.fixture(name="order_json")
def order_json_fixture() -> Any:
    """A factory of orders as customers send them."""
    return order_json
