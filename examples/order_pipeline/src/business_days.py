"""When the shop ships next. Knows weekends, no holidays, and no clock: the caller says what time it is."""

from datetime import datetime, timedelta

OPENING_HOUR = 9  # UTC
SATURDAY, SUNDAY = 5, 6


def next_business_day(now: datetime) -> datetime:
    """09:00 UTC on the day after `now`, or on Monday when that day is at the weekend. `now` is aware UTC."""
    opening = (now + timedelta(days=1)).replace(hour=OPENING_HOUR, minute=0, second=0, microsecond=0)
    days_until_monday = {SATURDAY: 2, SUNDAY: 1}.get(opening.weekday(), 0)
    return opening + timedelta(days=days_until_monday)
