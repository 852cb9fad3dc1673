"""A step's configuration, checked and in milliseconds: the form the engine works with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from msgspec import Struct, structs

from everstep.core.durations import bounded_ms
from everstep.core.limits import RETRIES, WAIT_MS
from everstep.core.policy.backoff import Backoff, retry_delay_ms
from everstep.core.policy.config_hints import key_hint
from everstep.core.policy.step_config import AnyStepConfig, DelayFunction, Retries, RollbackFunction, StepConfig


class StepPolicy(Struct, frozen=True):
    """A step's configuration, checked and in milliseconds."""

    limit: int = 5
    delay_ms: int = 10_000
    backoff: Backoff = "exponential"
    timeout_ms: int = 600_000
    max_delay_ms: int | None = None
    jitter: float = 0.0
    non_retryable: tuple[type[BaseException], ...] = ()
    sensitive: bool = False
    delay_function: DelayFunction | None = None
    rollback: RollbackFunction | None = None
    rollback_policy: StepPolicy | None = None

    def as_config(self) -> dict[str, Any]:
        """Write the policy in the shape users know, with every default filled in."""
        retries: dict[str, Any] = {"limit": self.limit}
        if self.delay_function is None:  # a function's delay is not known before there is an error
            retries["delay"] = _duration_text(self.delay_ms)
        retries["backoff"] = self.backoff
        if self.jitter:
            retries["jitter"] = self.jitter
        if self.max_delay_ms is not None:
            retries["max_delay"] = _duration_text(self.max_delay_ms)
        if self.non_retryable:
            retries["non_retryable"] = [cls.__qualname__ for cls in self.non_retryable]
        config: dict[str, Any] = {"retries": retries, "timeout": _duration_text(self.timeout_ms)}
        if self.sensitive:
            config["sensitive"] = "output"
        return config


DEFAULT_POLICY = StepPolicy()

_CONFIG_KEYS = ("retries", "timeout", "sensitive", "rollback", "rollback_config")
_RETRIES_KEYS = ("limit", "delay", "backoff", "max_delay", "jitter", "non_retryable")
_BACKOFFS = ("constant", "linear", "exponential")


def resolve_policy(config: AnyStepConfig | None, step: str) -> StepPolicy:
    """Check a step's configuration and fill in the defaults.

    Raises:
        TypeError: for a value of the wrong kind.
        ValueError: for unknown keys and impossible values; both name the step and the key.
    """
    if config is None:
        return DEFAULT_POLICY
    given = _as_mapping(config, StepConfig, _CONFIG_KEYS, f"the config of step {step!r}")
    retries = _as_mapping(given.get("retries", {}), Retries, _RETRIES_KEYS, f"retries of step {step!r}")
    timeout_ms = DEFAULT_POLICY.timeout_ms
    if "timeout" in given:
        timeout_ms = bounded_ms(given["timeout"], WAIT_MS, what=f"timeout of step {step!r}")
        if timeout_ms == 0:
            raise ValueError(f"timeout of step {step!r} must be longer than 0")
    if given.get("sensitive") not in (None, "output"):
        raise ValueError(f"sensitive of step {step!r} can only be 'output', got {given['sensitive']!r}")
    delay = retries.get("delay", "10 seconds")
    rollback, rollback_policy = _rollback(given, step)
    return StepPolicy(
        limit=_limit(retries, step),
        delay_ms=0 if callable(delay) else bounded_ms(delay, WAIT_MS, what=f"retries.delay of step {step!r}"),
        delay_function=cast("DelayFunction", delay) if callable(delay) else None,
        jitter=_jitter(retries, step),
        rollback=rollback,
        rollback_policy=rollback_policy,
        backoff=_backoff(retries, step),
        timeout_ms=timeout_ms,
        max_delay_ms=_max_delay(retries, step),
        non_retryable=_non_retryable(retries, step),
        sensitive=given.get("sensitive") == "output",
    )


def _as_mapping(value: object, cls: type[Struct], keys: tuple[str, ...], what: str) -> Mapping[str, Any]:
    if isinstance(value, cls):
        return {key: item for key in keys if (item := getattr(value, key)) is not None}
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} must be a dict or {cls.__name__}, got {type(value).__name__}")
    for key in value:
        if key not in keys:
            hint = key_hint(key, value[key], keys, _RETRIES_KEYS)
            raise ValueError(f"{what} has an unknown key {key!r}{hint}; known: {', '.join(keys)}")
    return value


def _limit(retries: Mapping[str, Any], step: str) -> int:
    limit = retries.get("limit", 5)
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"retries.limit of step {step!r} must be a whole number, got {limit!r}")
    if not 0 <= limit <= RETRIES:
        raise ValueError(f"retries.limit of step {step!r} must be between 0 and {RETRIES}, got {limit}")
    return limit


def _backoff(retries: Mapping[str, Any], step: str) -> Backoff:
    backoff = retries.get("backoff", "exponential")
    if backoff not in _BACKOFFS:
        raise ValueError(f"retries.backoff of step {step!r} must be one of {', '.join(_BACKOFFS)}, got {backoff!r}")
    return backoff  # type: ignore[no-any-return]  # checked on the line above


def _jitter(retries: Mapping[str, Any], step: str) -> float:
    jitter = retries.get("jitter", 0.0)
    if not isinstance(jitter, (int, float)) or isinstance(jitter, bool):
        raise TypeError(f"retries.jitter of step {step!r} must be a number from 0 to 1, got {jitter!r}")
    if not 0 <= jitter <= 1:
        raise ValueError(f"retries.jitter of step {step!r} must be a number from 0 to 1, got {jitter!r}")
    return float(jitter)


def _rollback(given: Mapping[str, Any], step: str) -> tuple[RollbackFunction | None, StepPolicy | None]:
    rollback, config = given.get("rollback"), given.get("rollback_config")
    if rollback is None:
        if config is not None:
            raise ValueError(f"step {step!r} has a rollback_config and no rollback")
        return None, None
    if not callable(rollback):
        raise TypeError(f"rollback of step {step!r} must be a function, got {type(rollback).__name__}")
    policy = resolve_policy(config, f"{step} (rollback)")
    if policy.rollback is not None or policy.sensitive:
        raise ValueError(f"rollback_config of step {step!r} may only have retries and timeout")
    return rollback, policy


def delay_after(policy: StepPolicy, failures: int, chance: float = 0.0) -> int:
    """Milliseconds before the next attempt, after `failures` failed ones; `chance`, from 0 to 1, decides the jitter."""
    delay = retry_delay_ms(policy.delay_ms, policy.backoff, failures, policy.max_delay_ms)
    return min(delay + round(delay * policy.jitter * chance), WAIT_MS)


def pin_recorded(policy: StepPolicy, seen: Mapping[str, Any] | None) -> StepPolicy:
    """Return the configuration a step began with, as recorded, with the functions and classes of today's code."""
    first = DEFAULT_POLICY
    if seen is not None:
        recorded = dict(seen)
        recorded["retries"] = {key: value for key, value in seen["retries"].items() if key != "non_retryable"}
        first = resolve_policy(recorded, "recorded")  # type: ignore[arg-type]  # what as_config wrote
    return structs.replace(
        first,
        non_retryable=policy.non_retryable,
        delay_function=policy.delay_function,
        delay_ms=policy.delay_ms if policy.delay_function is not None else first.delay_ms,
        rollback=policy.rollback,
        rollback_policy=policy.rollback_policy,
    )


def _max_delay(retries: Mapping[str, Any], step: str) -> int | None:
    max_delay = retries.get("max_delay")
    return None if max_delay is None else bounded_ms(max_delay, WAIT_MS, what=f"retries.max_delay of step {step!r}")


def _non_retryable(retries: Mapping[str, Any], step: str) -> tuple[type[BaseException], ...]:
    classes = retries.get("non_retryable", ())
    classes = tuple(classes) if isinstance(classes, (tuple, list, set, frozenset)) else (classes,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise TypeError(f"retries.non_retryable of step {step!r} takes exception classes, got {cls!r}")
    return classes


def _duration_text(ms: int) -> str:
    for unit_ms, unit in ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute")):
        if ms and ms % unit_ms == 0:
            return f"{ms // unit_ms} {unit}{'s' if ms != unit_ms else ''}"
    seconds = f"{ms // 1000}.{ms % 1000:03}".rstrip("0").rstrip(".")
    return f"{seconds} second{'s' if ms != 1000 else ''}"
