"""`everstep dev` killed at random moments while orders keep coming in; `EVERSTEP_CRASH_SECONDS` says for how long."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import defaultdict
from pathlib import Path

import httpx
import pytest
from databases import Database
from dev_process import DevProcess

SECONDS = float(os.environ.get("EVERSTEP_CRASH_SECONDS", "12"))


def place_orders(dev: DevProcess, chance: random.Random, until: float, numbers: list[int]) -> list[str]:
    """Create orders until `until`, and return those that were acknowledged."""
    acknowledged = []
    while time.monotonic() < until:
        id = f"order-{numbers.pop()}"
        with contextlib.suppress(httpx.TransportError):
            dev.create(id, charge_seconds=chance.choice([0.0, 0.01, 0.1]))
            acknowledged.append(id)
    return acknowledged


@pytest.mark.crash
def test_random_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path, database: Database) -> None:
    chance = random.Random(7)
    numbers = list(range(1_000_000, 0, -1))
    acknowledged: list[str] = []
    with DevProcess(tmp_path, database=database) as dev:
        dev.start("--quiet")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            acknowledged += place_orders(dev, chance, time.monotonic() + chance.uniform(0.05, 1.0), numbers)
            dev.kill()
            dev.start("--quiet")

        deadline = time.monotonic() + 60 + SECONDS
        while (counts := dev.counts())["complete"] < len(acknowledged):
            assert time.monotonic() < deadline, counts
            time.sleep(0.2)
        assert counts["errored"] == 0
        attempts: dict[tuple[str, str], list[int]] = defaultdict(list)
        for line in dev.recorded():
            if line["what"] == "begin":
                attempts[line["id"], line["step"]].append(line["n"])
        for (id, step), numbers_of in attempts.items():
            assert numbers_of == sorted(set(numbers_of)), f"{id} {step} repeated an attempt: {numbers_of}"
        for id in acknowledged[:: max(1, len(acknowledged) // 50)]:
            assert dev.status(id)["output"]["receipt"] == f"paid {id}"
