"""Events as log records: what went wrong, and what goes on after a crash. An app decides where records go.

    everstep.instance   an attempt failed, an instance failed, an instance goes on after a crash
    everstep.loop       code blocks the event loop

Both below `everstep`, which has a `NullHandler`: without logging that an app has set up nothing is written.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from everstep.telemetry import events
from everstep.telemetry.bus import Telemetry
from everstep.telemetry.log_format import describe
from everstep.telemetry.loop_watchdog import watch_loop

INSTANCE = "everstep.instance"

instance_log = logging.getLogger(INSTANCE)
loop_log = logging.getLogger("everstep.loop")


def record(event: events.Event) -> None:
    """Log an event if it tells of trouble; a subscriber for telemetry.

    Records have the attributes `workflow` and `instance_id`, those of a step `step` and `attempt` as well.
    """
    level = _level(event)
    if level is None or not _is_written(instance_log, level):
        return
    facts = {"workflow": event.workflow, "instance_id": event.instance_id}
    if isinstance(event, events.AttemptFailed):
        facts |= {"step": event.step, "attempt": str(event.attempt)}
    instance_log.log(level, "%s", describe(event), extra=facts)


@contextlib.contextmanager
def log_records(telemetry: Telemetry) -> Iterator[None]:
    """Log what goes wrong while an engine runs on this loop.

    The loop is watched only if a record of that would be written: a watch wakes the process twice a second.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(telemetry.subscribe(record, trouble_only=True))
        if _is_written(loop_log, logging.WARNING):
            stack.enter_context(watch_loop(loop_log.warning))
        yield


def _level(event: events.Event) -> int | None:
    match event:
        case events.InstanceEnded(status="errored"):
            return logging.ERROR
        case events.AttemptFailed():
            return logging.WARNING
        case events.InstanceStarted(recovered=recovered) if recovered:
            return logging.WARNING
        case _:
            return None


def _is_written(log: logging.Logger, level: int) -> bool:
    """Whether a record would reach a handler that does something."""
    if not log.isEnabledFor(level):
        return False
    logger: logging.Logger | None = log
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
