"""When trouble that lasts is told again."""

from __future__ import annotations

from everstep.core.log_throttle import LogThrottle


def told(reminders: LogThrottle, seconds: range) -> list[int]:
    return [second for second in seconds if reminders.should_log(second)]


def test_trouble_is_told_at_once_then_ever_more_rarely_and_at_last_every_minute():
    assert told(LogThrottle(), range(1_000, 1_250)) == [1000, 1002, 1006, 1014, 1030, 1062, 1122, 1182, 1242]


def test_the_next_trouble_is_told_at_once():
    reminders = LogThrottle()
    told(reminders, range(100))
    reminders.reset()
    assert told(reminders, range(100, 110)) == [100, 102, 106]
