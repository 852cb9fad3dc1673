"""The clock that many machines share believes an answer as far as it is certain."""

from __future__ import annotations

import time

from everstep.engine.runtime.clock import SharedClock


def test_a_quick_answer_sets_the_clock():
    clock = SharedClock()
    ahead = int(time.time() * 1000) + 5_000
    clock.correct(ahead, asked_at=time.monotonic())
    assert abs(clock.now() - ahead) <= 5


def test_an_answer_that_was_long_under_way_leaves_a_clock_that_it_does_not_contradict():
    clock = SharedClock()
    before = clock.now()
    asked_at = time.monotonic() - 4
    clock.correct(before - 4_000, asked_at=asked_at)  # read at once, and four seconds on the way back
    assert abs(clock.now() - before) <= 5
    clock.correct(before, asked_at=asked_at)  # read at the last moment
    assert abs(clock.now() - before) <= 5


def test_a_clock_never_goes_backwards():
    clock = SharedClock()
    before = clock.now()
    clock.correct(before - 60_000, asked_at=time.monotonic())
    assert clock.now() == before
