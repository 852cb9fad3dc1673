"""What is measured of Everstep really happens: steps run, and their results survive the kill -9 at the end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from benchmarks import grown
from benchmarks.peers.everstep import EverstepPeer, check_proof
from benchmarks.processes import MeasurementError
from benchmarks.works import WORKS, Work

SMALL = {
    "sequential": {"steps": 25},
    "parallel-1": {"instances": 4, "steps": 3, "concurrency": 1},
    "parallel-best": {"instances": 12, "steps": 3, "concurrency": "best"},
    "create": {"instances": 5},
    "event": {"instances": 3, "steps": 2, "cached": True},
    "event-replay": {"instances": 3, "steps": 2, "cached": False},
    "results": {"steps": 3, "kilobytes": 10},
    "branches": {"branches": 4, "times": 2},
    "long-history": {"steps": 40},
}
ON_DISK = {
    "sequential": (1, 25),
    "parallel-1": (4, 12),
    "parallel-best": (12, 36),
    "create": (5, 0),
    "event": (3, 12),
    "event-replay": (3, 12),
    "results": (1, 3),
    "branches": (1, 8),
    "long-history": (1, 40),
}


def work_of(key: str) -> Work:
    return next(work for work in WORKS if work.key == key)


def on_disk(folder: Path) -> tuple[int, int]:
    with sqlite3.connect(folder / "state.db") as connection:
        [(instances,)] = connection.execute("select count(*) from instance where status = 'complete'")
        [(steps,)] = connection.execute("select count(*) from step where ended_at is not null")
    connection.close()
    return instances, steps


@pytest.mark.parametrize("key", sorted(ON_DISK))
def test_everything_that_was_measured_is_on_disk_after_the_kill(key: str, tmp_path: Path) -> None:
    work = work_of(key)

    measured = EverstepPeer().measure(work, SMALL[key], tmp_path)

    assert on_disk(tmp_path) == ON_DISK[key]
    assert set(measured) == {figure.key for figure in work.figures}
    assert all(value > 0 for value in measured.values())


def test_after_a_kill_in_flight_the_second_process_finishes_everything(tmp_path: Path) -> None:
    measured = EverstepPeer().measure(work_of("kill"), {"instances": 30, "steps": 4}, tmp_path)

    assert on_disk(tmp_path) == (30, 120)
    assert 0 < measured["first_s"] <= measured["last_s"]


def test_sleeping_instances_are_weighed_and_found_again(tmp_path: Path) -> None:
    measured = EverstepPeer().measure(work_of("asleep"), {"instances": 30, "watch_s": 0.1}, tmp_path)

    assert set(measured) == {"rss_mib", "cpu_percent", "restart_s"}


@pytest.mark.parametrize(
    "said",
    [{"steps": 3, "instances": 1, "ran": 2}, {"steps": 3, "instances": 1, "ran": 3}, {"steps": 2, "instances": 2}],
)
def test_a_run_that_says_more_than_it_did_is_no_measurement(said: dict[str, float], tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("create table instance (status)")
        connection.execute("insert into instance values ('complete')")
        connection.execute("create table step (ended_at)")
        connection.executemany("insert into step values (?)", [(1,), (2,), (None,)])
    connection.close()

    with pytest.raises(MeasurementError):
        check_proof(dict(said), tmp_path / "state.db")


def test_a_program_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"ended with 1.*KeyError"):
        EverstepPeer().program("parallel", {"instances": 1}, tmp_path, 30)


def test_a_program_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="not finished within"):
        EverstepPeer().program("sequential", {"steps": 5}, tmp_path, 0.01)


def test_a_grown_database_has_that_many_finished_instances_and_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grown, "BENCH", tmp_path / "bench")
    sizes = {"instances": 3, "steps": 2, "concurrency": 2, "finished": 500}

    measured = EverstepPeer().measure(work_of("million"), sizes, tmp_path)

    assert set(measured) == {"per_s", "to_empty"}
    with sqlite3.connect(tmp_path / "full" / "state.db") as connection:
        assert connection.execute("select count(*) from instance").fetchone() == (504,)
        assert connection.execute("select count(*) from step").fetchone() == (1008,)
    connection.close()
