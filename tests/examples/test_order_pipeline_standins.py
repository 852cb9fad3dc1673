"""The stand-ins honour idempotency keys, fail on order and remember everything."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standins import Ledger, create_app

CHARGE = {"token": "tok_fake_visa", "amount": 3998, "currency": "USD"}


@pytest.fixture
def client(standins: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=standins.url, trust_env=False) as client:
        yield client


def charge(client: httpx.Client, key: str | None = "ord_1:charge-payment-1", **changes: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/charge", json={**CHARGE, **changes}, headers=headers)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/charge", CHARGE, "charges"),
        ("/reservations", {"orderId": "ord_1", "items": []}, "reservations"),
        ("/send", {"to": "ada@example.com", "subject": "s", "body": "b"}, "emails"),
    ],
)
def test_the_same_key_gives_the_same_answer_and_one_side_effect(
    client: httpx.Client, path: str, body: dict[str, Any], kind: str
) -> None:
    answers = [client.post(path, json=body, headers={"Idempotency-Key": "k"}).json() for _ in range(3)]

    ledger = client.get("/ledger").json()
    assert answers[0] == answers[1] == answers[2]
    assert len(ledger[kind]) == 1
    assert [call["repeat"] for call in ledger["calls"]] == [False, True, True]


def test_other_keys_and_no_key_are_new_side_effects(client: httpx.Client) -> None:
    for key in ("a", "b", None, None):
        charge(client, key)

    assert len(client.get("/ledger").json()["charges"]) == 4


def test_a_key_used_again_with_another_body_is_refused(client: httpx.Client) -> None:
    charge(client)

    assert charge(client, amount=1).status_code == 422


def test_a_declined_card_is_answered_402_and_charges_nothing(client: httpx.Client) -> None:
    assert charge(client, token="tok_declined").status_code == 402
    assert client.get("/ledger").json()["charges"] == []


def test_a_fault_strikes_as_often_as_ordered_and_does_no_work(client: httpx.Client) -> None:
    client.post("/faults", json={"service": "payments", "fail_next": 2, "status": 503})

    assert [charge(client).status_code for _ in range(3)] == [503, 503, 200]
    assert len(client.get("/ledger").json()["charges"]) == 1


def test_a_fault_strikes_only_its_service_and_its_order(client: httpx.Client) -> None:
    client.post("/faults", json={"service": "payments", "only_id": "ord_2"})

    assert client.post("/send", json={}, headers={"Idempotency-Key": "ord_2:x"}).status_code == 200
    assert charge(client, "ord_1:charge-payment-1").status_code == 200
    assert charge(client, "ord_22:charge-payment-1").status_code == 200
    assert charge(client, "ord_2:charge-payment-1").status_code == 503


def test_a_misspelt_fault_is_refused(client: httpx.Client) -> None:
    answer = client.post("/faults", json={"service": "payments", "fail_nxt": 2})

    assert answer.status_code == 400
    assert "fail_nxt" in answer.text


def test_a_late_answer_comes_after_the_work_is_done(client: httpx.Client) -> None:
    client.post("/faults", json={"service": "payments", "status": 200, "delay_ms": 200})
    began = time.monotonic()
    late = threading.Thread(target=charge, args=(client,))
    late.start()
    while not client.get("/ledger").json()["charges"]:
        assert time.monotonic() < began + 5
    assert client.get("/ledger").json()["calls"][0]["status"] is None

    late.join()
    assert time.monotonic() - began >= 0.2
    assert client.get("/ledger").json()["calls"][0]["status"] == 200


def test_a_caller_that_leaves_a_hanging_call_is_noticed(standins: Any) -> None:
    standins.order_fault(service="payments", status=200, hang=True)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{standins.url}/charge", json=CHARGE, timeout=0.2, trust_env=False)

    assert standins.effects("payments") == 1
    assert standins.ledger.calls[0].status is None


def test_reset_forgets_everything(client: httpx.Client) -> None:
    client.post("/faults", json={"service": "payments"})
    charge(client, "k")
    client.post("/faults", json={"service": "payments"})
    client.post("/reset")

    assert client.get("/ledger").json() == {"calls": [], "charges": [], "reservations": [], "emails": []}
    assert charge(client).status_code == 200


async def test_the_ledger_file_has_one_line_per_call_and_effect(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    transport = httpx.ASGITransport(create_app(Ledger(file)))
    async with httpx.AsyncClient(transport=transport, base_url="http://standins") as client:
        for _ in range(2):
            await client.post("/charge", json=CHARGE, headers={"Idempotency-Key": "k"})

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["kind"], line.get("repeat")) for line in lines] == [("effect", None), ("call", False), ("call", True)]
