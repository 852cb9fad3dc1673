"""What was meant by an unknown key of a step's configuration: for messages."""

from __future__ import annotations

from everstep.core.suggest import did_you_mean

_OF_RETRIES = {
    "limit": ("retrylimit", "retrieslimit", "maxretries", "retrymax", "maxattempts", "attempts"),
    "delay": ("retrydelay", "retriesdelay", "initialdelay", "interval"),
    "backoff": ("retrybackoff", "retriesbackoff", "backofftype"),
}
_UNITS = ("ms", "millis", "milliseconds", "seconds")


def key_hint(key: object, value: object, known: tuple[str, ...], retries: tuple[str, ...]) -> str:
    """Say how a key is written that `known` does not have, or nothing where nothing is near.

    Args:
        key: The unknown key.
        value: What it was given.
        known: The keys that can stand where it stands.
        retries: The keys that can stand in `retries`.

    Example:
        >>> key_hint("limit", 3, ("retries", "timeout"), ("limit", "delay"))
        '; write {"retries": {"limit": 3}}'
    """
    squeezed = str(key).lower().replace("_", "").replace("-", "")
    for name in known:
        if squeezed.removeprefix(name.replace("_", "")) in _UNITS:
            unit = "ms" if squeezed.endswith(("ms", "millis", "milliseconds")) else " seconds"
            return f'; write {{"{name}": "{value}{unit}"}}'
    name = next((one for one, others in _OF_RETRIES.items() if squeezed in others), str(key))
    if name in known:
        return f", did you mean {name!r}?"
    if name in retries:
        shown = f'"{value}"' if isinstance(value, str) else value
        return f'; write {{"retries": {{"{name}": {shown}}}}}'
    return did_you_mean(str(key), known)
