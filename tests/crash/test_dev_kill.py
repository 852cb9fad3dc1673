"""`everstep dev` is killed -9 again and again while orders are charged, sleep and wait."""

from __future__ import annotations

import itertools
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from dev_process import DevProcess

pytestmark = pytest.mark.crash


def begins(dev: DevProcess) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every begin of a side effect by order and step, in order."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in dev.recorded():
        if line["what"] == "begin":
            grouped[line["id"], line["step"]].append(line)
    return grouped


def ended_steps(dev: DevProcess, orders: list[str]) -> set[tuple[str, str]]:
    return {(id, step["name"]) for id in orders for step in dev.status(id)["steps"] if step["status"] == "complete"}


def test_ten_kills_lose_nothing_repeat_no_completed_step_and_keep_every_backoff(
    tmp_path: Path, database: Database
) -> None:
    chance = random.Random(2026)
    orders = [f"plain-{n}" for n in range(12)] + [f"{n}-flaky" for n in range(6)] + [f"wait-{n}" for n in range(6)]
    with DevProcess(tmp_path, database=database) as dev:
        dev.start()
        for id in orders:
            dev.create(id, charge_seconds=chance.choice([0.05, 0.3, 0.6]), approve=id.startswith("wait"))
        dev.create("paused", charge_seconds=0.2)
        dev.http.post("/pause", params={"id": "paused"})
        dev.wait_for("paused", "paused")
        completed: dict[tuple[str, str], int] = {}

        for kill in range(10):
            time.sleep(chance.uniform(0.05, 0.5))
            done = ended_steps(dev, orders)
            counted = begins(dev)
            completed |= {key: len(counted[key]) for key in done if key not in completed and key in counted}
            dev.kill()
            dev.start()
            if kill == 5:
                for id in orders:
                    if id.startswith("wait"):
                        dev.http.post("/approve", params={"id": id})

        results = {id: dev.wait_for(id, "complete", "errored") for id in orders}
        still_paused = dev.status("paused")
        dev.http.post("/resume", params={"id": "paused"})
        assert dev.wait_for("paused", "complete")["output"]["receipt"] == "paid paused"

        for id, result in results.items():
            assert result["status"] == "complete", result
            by = " by boss" if id.startswith("wait") else ""
            assert result["output"] == {"total": 7, "receipt": f"paid {id}{by}", "mails": [0, 1, 2]}
        ran = begins(dev)
        for key, count in completed.items():
            assert len(ran[key]) == count, f"{key} ran again after it had completed"
        for (id, step), attempts in ran.items():
            numbers = [attempt["n"] for attempt in attempts]
            assert numbers == sorted(set(numbers)), f"{id} {step} repeated an attempt: {numbers}"
            if step == "charge":
                for first, second in itertools.pairwise(attempts):
                    # Linear: 0.4 s times the attempts made; an attempt too quick to be recorded goes on at once.
                    assert second["at"] - first["at"] > 0.4 * first["n"] - 0.05, (id, attempts)
        assert still_paused["status"] == "paused"
        assert {step["name"] for step in still_paused["steps"]} <= {"validate", "charge"}


def test_five_hundred_orders_in_flight_go_on_by_themselves(tmp_path: Path, database: Database) -> None:
    with DevProcess(tmp_path, database=database) as dev:
        dev.start("--quiet")
        for n in range(500):
            dev.create(f"order-{n}", charge_seconds=1.0)
        dev.kill()
        dev.start("--quiet")

        deadline = time.monotonic() + 60
        while (counts := dev.counts())["complete"] < 500:
            assert time.monotonic() < deadline, counts
            time.sleep(0.2)
