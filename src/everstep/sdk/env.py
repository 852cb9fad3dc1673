"""The environment of an app: its bindings, vars and secrets, as an object with declared members.

Where the values come from is the configuration's business; this module only holds, checks and hands them out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from everstep.core.errors import ConfigError
from everstep.core.suggest import did_you_mean

EnvT = TypeVar("EnvT", bound="Env")


class Env:
    """Base of declared environments; also what an app gets that declares none.

    Annotate the bindings, vars and secrets the app needs. They are checked when it starts: every missing one is named
    in one message. A member with a default is optional.

    Example:
        >>> class ShopEnv(Env):
        ...     PAYMENT_API_KEY: str
        ...     REGION: str = "eu"
    """

    def __getitem__(self, name: str) -> Any:
        """Return a member by its name; for names that are not identifiers."""
        try:
            return vars(self)[name]
        except KeyError:
            raise KeyError(f"env has no member {name!r}; it has: {', '.join(sorted(vars(self))) or 'none'}") from None

    if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt member for one

        def __getattr__(self, name: str) -> Any:
            """Say what is missing; only called for members that are not there."""
            if name.startswith("__"):
                raise AttributeError(name)
            members = ", ".join(sorted(vars(self))) or "none"
            hint = did_you_mean(name, vars(self))
            raise AttributeError(
                f"env has no member {name!r}{hint}; it has: {members}. Set it in vars, .dev.vars or env="
            )

    def __repr__(self) -> str:
        """Show names only: values may be secrets."""
        return f"<{type(self).__name__}: {', '.join(sorted(vars(self)))}>"


def build_env(cls: type[EnvT], values: Mapping[str, Any]) -> EnvT:
    """Make an environment of the declared class.

    Vars and secrets arrive as text; they are converted to the declared type (`int`, `bool`, …).

    Raises:
        ConfigError: naming every missing member, and every one whose value does not fit its type.
    """
    made = cls.__new__(cls)
    vars(made).update(values)
    problems = [problem for name, hint in _members(cls).items() if (problem := _check_member(made, cls, name, hint))]
    if problems:
        raise ConfigError("\n".join(problems))
    return made


def missing_members(cls: type[Env], names: Mapping[str, Any]) -> list[str]:
    """Return the declared members of `cls` that have neither a value nor a default."""
    return [name for name in _members(cls) if name not in names and not hasattr(cls, name)]


def _members(cls: type[Env]) -> dict[str, Any]:
    try:
        hints = get_type_hints(cls)
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        hints = {name: Any for ancestor in reversed(cls.__mro__) for name in vars(ancestor).get("__annotations__", ())}
    return {name: hint for name, hint in hints.items() if not name.startswith("_")}


def _check_member(made: Env, cls: type[Env], name: str, hint: Any) -> str | None:
    """Check one declared member of `made`, converting text where another plain type is declared."""
    values = vars(made)
    if name not in values:
        if hasattr(cls, name):
            values[name] = getattr(cls, name)
            return None
        return f"{cls.__name__}.{name} is not set"
    if _is_plain(hint):
        try:
            values[name] = msgspec.convert(values[name], hint, strict=not isinstance(values[name], str))
        except msgspec.ValidationError:  # without its text, which may show the value
            return f"{cls.__name__}.{name} must be {_written(hint)}, and its value is not"
    return None


def _is_plain(hint: Any) -> bool:
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return all(one in (str, int, float, bool, type(None)) for one in alternatives)


def _written(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


_current: ContextVar[Env | None] = ContextVar("everstep_env", default=None)
_default: Env | None = None


@contextlib.contextmanager
def use_env(value: Env) -> Iterator[None]:
    """Make `value` what `everstep.env` stands for in this context."""
    token = _current.set(value)
    try:
        yield
    finally:
        _current.reset(token)


def set_env(value: Env) -> None:
    """Make `value` what `everstep.env` stands for in this context, to its end."""
    _current.set(value)


def set_default_env(value: Env | None) -> Env | None:
    """Make `value` what `everstep.env` stands for wherever no context says otherwise; return the one before."""
    global _default
    before, _default = _default, value
    return before


class _EnvProxy:
    """Stands for the environment of the app that is running; `from everstep import env` gives it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_resolve(), name)

    def __getitem__(self, name: str) -> Any:
        return _resolve()[name]

    def __repr__(self) -> str:
        found = _current.get() or _default
        return repr(found) if found is not None else "<env: no app is running>"


def _resolve() -> Env:
    found = _current.get() or _default
    if found is None:
        raise RuntimeError(
            "everstep.env has no members yet: no engine runs in this process. Use it inside a request, a workflow or "
            "`async with Everstep(...)`, not while modules are imported"
        )
    return found


env: Any = _EnvProxy()
