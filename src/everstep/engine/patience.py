"""Asking the store on behalf of an instance's code, which never hears of trouble that passes. Writes have it anyway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from everstep.store.driver import StoreUnavailableError

T = TypeVar("T")

log = logging.getLogger("everstep.engine")
PAUSE_SECONDS = 0.5


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer. What is asked may be done more than once.

    The code would take the error for its step's: end with it, or catch it and go another way than its history.
    """
    while True:
        try:
            return await ask()
        except StoreUnavailableError as error:
            log.warning("an instance waits for the database: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)
