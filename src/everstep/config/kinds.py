"""The kinds of value that settings take: whether a value fits one, and how both are called. Converts nothing."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from msgspec import inspect

from everstep.config.redact import redact_url

Kind: TypeAlias = inspect.Type


def bare(kind: Kind) -> Kind:
    """Take the description off a kind."""
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def fits(value: Any, kind: Kind) -> bool:
    """Tell whether `value` is of this kind; what is inside a table of settings is not looked at."""
    match bare(kind):
        case inspect.UnionType(types=types):
            return any(fits(value, one) for one in types)
        case inspect.AnyType():
            return True
        case inspect.NoneType():
            return value is None
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.LiteralType(values=values):
            return value in values
        case inspect.IntType(ge=least):
            return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)
        case inspect.ListType(item_type=item):
            return isinstance(value, list) and all(fits(one, item) for one in value)
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case other:
            raise NotImplementedError(f"settings of kind {other!r}")


def words(kind: Kind, *, plural: bool = False) -> str:
    """Call a kind by its name.

    Example:
        >>> words(inspect.type_info(list[str]))
        'a list of texts'
    """
    match bare(kind):
        case inspect.UnionType(types=types):
            return " or ".join(words(one, plural=plural) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.AnyType():
            return "values" if plural else "any value"
        case inspect.StrType():
            return "texts" if plural else "text"
        case inspect.LiteralType(values=values):
            return " or ".join(json.dumps(value) for value in values)
        case inspect.IntType(ge=least):
            return ("whole numbers" if plural else "a whole number") + ("" if least is None else f" from {least} up")
        case inspect.ListType(item_type=item):
            return f"{'lists' if plural else 'a list'} of {words(item, plural=True)}"
        case _:
            return "tables" if plural else "a table"


def shown(value: Any) -> str:
    """Call a value by its kind and, where it is short, by itself."""
    if isinstance(value, str):
        text = redact_url(value)
        return f"the text {json.dumps(text if len(text) <= 60 else text[:59] + '…', ensure_ascii=False)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    return "null" if value is None else f"a {type(value).__name__} (put it in quotes)"
