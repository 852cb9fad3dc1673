"""Schedules: what each of their five fields takes."""

from __future__ import annotations

import re

import pytest

from everstep.core.cron import check_cron


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "0 0 1 1 0",
        "59 23 31 12 7",
        "*/15 0-6 1,15 JAN-mar MON-FRI",
        "5/10 22-2 L * *",  # a range may go past midnight, as with wrangler
        "0,30 8-18/2 L-3 * FRIL",
        "00 09 LW feb,aug TUE#2",
        "0 0 15W * *",
        "0 0 * * L",
    ],
)
def test_a_schedule_of_the_original_is_taken(cron: str) -> None:
    check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "wrong"),
    [
        ("99 6 * * *", "'99' is no minute; write 0 to 59,"),
        ("60 * * * *", "'60' is no minute"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("*/60 * * * *", "'*/60' is no minute"),
        ("0-60 * * * *", "'0-60' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("-1 * * * *", "'-1' is no minute"),
        ("L * * * *", "'L' is no minute"),
        ("a b c d e", "'a' is no minute"),
        ("0 24 * * *", "'24' is no hour; write 0 to 23,"),
        ("0 0 0 * *", "'0' is no day; write 1 to 31,"),
        ("0 0 32W * *", "'32W' is no day"),
        ("0 0 1 13 *", "'13' is no month; write 1 to 12 or JAN to DEC,"),
        ("0 0 1 MON *", "'MON' is no month"),
        ("0 0 * * 8", "'8' is no weekday; write 0 to 7 or SUN to SAT,"),
        ("0 0 * * TUE#6", "'TUE#6' is no weekday"),
        ("0 0 * * MON-8", "'MON-8' is no weekday"),
    ],
)
def test_what_a_field_does_not_take_is_refused_by_the_fields_name(cron: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{cron!r} is not a schedule: {wrong}")):
        check_cron(cron)
