"""Asking the store on behalf of an instance's code, which never hears of trouble that passes. Writes have it anyway."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from everstep.core.errors import StoreUnavailableError
from everstep.core.log_throttle import LogThrottle

T = TypeVar("T")

log = logging.getLogger("everstep.engine")
RETRY_SECONDS = 0.5

_reminders = LogThrottle()  # of all instances together: a thousand of them wait for the same


async def retry_while_unavailable(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer. What is asked may be done more than once.

    The code would take the error for its step's: end with it, or catch it and go another way than its history.
    """
    while True:
        try:
            answer = await ask()
        except StoreUnavailableError as error:
            if _reminders.should_log(time.monotonic()):
                log.warning("instances wait for the database: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            _reminders.reset()
            return answer
