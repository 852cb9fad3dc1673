"""The tutorial's curl commands against `everstep dev`: routes, statuses, pausing, approval, and a kill -9."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playground import Playground, free_port

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    variables = {"RETRY_DELAY": "0.1 seconds", "SHIPPING_DELAY": "0.2 seconds"}
    with Playground(tmp_path_factory.mktemp("shop"), free_port(8787), variables) as shop:
        yield shop


def expensive(order: dict[str, Any]) -> dict[str, Any]:
    return {**order, "items": [{"sku": "SOFA", "quantity": 1, "unitPriceCents": 50_001}]}


def test_post_to_the_root_answers_with_the_id_and_the_status(shop: Playground, order_json: Any) -> None:
    answer = shop.post("/", order_json("root"))

    assert answer.status_code == 200
    assert answer.json()["instanceId"] == "root"
    assert answer.json()["status"]["status"] in {"queued", "running", "waiting", "complete"}


def test_an_order_completes_and_says_so(shop: Playground, order_json: Any) -> None:
    assert shop.post("/orders", order_json("plain")).json() == {"instanceId": "plain"}

    status = shop.wait_until("plain", "complete")
    assert status["output"]["status"] == "completed"
    assert status["elapsed_ms"] >= 200


def test_get_on_the_root_is_405(shop: Playground) -> None:
    answer = shop.http.get(shop.dev.url)

    assert (answer.status_code, answer.text) == (405, "Use POST to start an order")


@pytest.mark.parametrize("path", ["/nothing", "/orders/unknown?id=plain2", "/orders"])
def test_other_paths_are_404(shop: Playground, path: str) -> None:
    assert shop.http.get(shop.dev.url + path).status_code == 404


def test_an_unknown_order_is_404_and_stays_unknown(shop: Playground) -> None:
    for _ in range(2):
        assert shop.http.get(shop.dev.url + "/orders", params={"id": "ghost"}).status_code == 404


def test_a_second_order_with_the_same_id_is_409(shop: Playground, order_json: Any) -> None:
    shop.post("/orders", order_json("twice"))

    assert shop.post("/orders", order_json("twice")).status_code == 409


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"orderId": "x"}', b'{"orderId": "-x", "items": []}', b"\xff"])
def test_a_body_that_is_no_order_is_400(shop: Playground, body: bytes) -> None:
    assert shop.http.post(shop.dev.url + "/orders", content=body).status_code == 400


def test_pausing_halts_and_resuming_goes_on(shop: Playground, order_json: Any) -> None:
    shop.post("/orders", expensive(order_json("paused")))
    shop.wait_until("paused", "waiting")

    assert shop.post("/orders/pause", id="paused").json() == {"paused": True}
    shop.wait_until("paused", "paused")
    assert shop.post("/orders/approve", {"approved": True}, id="paused").json() == {"delivered": True}
    assert shop.status("paused")["status"] == "paused"
    assert shop.post("/orders/resume", id="paused").json() == {"resumed": True}
    assert shop.wait_until("paused", "complete")["output"]["status"] == "completed"


def test_a_rejected_order_charges_nothing(shop: Playground, order_json: Any) -> None:
    shop.post("/orders", expensive(order_json("rejected")))
    shop.post("/orders/approve", {"approved": False}, id="rejected")

    assert shop.wait_until("rejected", "complete")["output"] == {"status": "rejected"}
    assert shop.ledger("rejected")["charges"] == []


def test_an_approval_that_is_none_is_400(shop: Playground, order_json: Any) -> None:
    shop.post("/orders", expensive(order_json("maybe")))

    assert shop.post("/orders/approve", {"approved": "perhaps"}, id="maybe").status_code == 400


def test_terminating_and_restarting(shop: Playground, order_json: Any) -> None:
    shop.post("/orders", expensive(order_json("again")))
    shop.wait_until("again", "waiting")

    assert shop.post("/orders/terminate", id="again").json() == {"terminated": True}
    shop.wait_until("again", "terminated")
    assert shop.post("/orders/restart", id="again").json() == {"restarted": True}
    shop.wait_until("again", "waiting")
    shop.post("/orders/approve", {"approved": True}, id="again")
    shop.wait_until("again", "complete")


def test_an_order_cut_by_kill_9_goes_on_by_itself_and_charges_once(shop: Playground, order_json: Any) -> None:
    shop.order_fault("payments", status=200, hang=True, only_id="killed")
    shop.post("/orders", order_json("killed"))
    shop.dev.wait_for("the charge", lambda: shop.ledger("killed")["charges"], timeout=10)
    shop.dev.kill()
    shop.start_dev()

    assert shop.wait_until("killed", "complete")["output"]["status"] == "completed"
    ledger = shop.ledger("killed")
    assert [len(ledger[kind]) for kind in ("charges", "reservations", "emails")] == [1, 1, 1]
    assert sum(call["service"] == "payments" for call in ledger["calls"]) == 2
