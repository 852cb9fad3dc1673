"""When trouble that lasts is told again."""

from __future__ import annotations

from everstep.core.log_throttle import Reminders


def told(reminders: Reminders, seconds: range) -> list[int]:
    return [second for second in seconds if reminders.due(second)]


def test_trouble_is_told_at_once_then_ever_more_rarely_and_at_last_every_minute():
    assert told(Reminders(), range(1_000, 1_250)) == [1000, 1002, 1006, 1014, 1030, 1062, 1122, 1182, 1242]


def test_the_next_trouble_is_told_at_once():
    reminders = Reminders()
    told(reminders, range(100))
    reminders.over()
    assert told(reminders, range(100, 110)) == [100, 102, 106]
