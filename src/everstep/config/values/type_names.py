"""The kinds of value that settings take: whether a value fits one, and how both are called. Converts nothing."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from msgspec import inspect

from everstep.core.redact import redact_url

Kind: TypeAlias = inspect.Type


def unwrap(kind: Kind) -> Kind:
    """Take the description off a kind."""
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def matches(value: Any, kind: Kind) -> bool:
    """Tell whether `value` is of this kind; what is inside a table of settings is not looked at."""
    match unwrap(kind):
        case inspect.UnionType(types=types):
            return any(matches(value, one) for one in types)
        case inspect.AnyType():
            return True
        case inspect.LiteralType(values=values):
            return value in values
        case inspect.IntType() | inspect.FloatType() as number:
            return _fits_number(value, number)
        case inspect.ListType(item_type=item):
            return isinstance(value, list) and all(matches(one, item) for one in value)
        case plain if type(plain) in _CLASSES:
            return isinstance(value, _CLASSES[type(plain)])
        case other:
            raise NotImplementedError(f"settings of kind {other!r}")


_CLASSES: dict[type[Kind], type] = {
    inspect.NoneType: type(None),
    inspect.StrType: str,
    inspect.BoolType: bool,
    inspect.StructType: dict,
    inspect.DictType: dict,
}


def _fits_number(value: Any, kind: inspect.IntType | inspect.FloatType) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if isinstance(kind, inspect.IntType) else int | float):
        return False
    return (kind.ge is None or value >= kind.ge) and (kind.le is None or value <= kind.le)


def describe(kind: Kind, *, plural: bool = False) -> str:
    """Call a kind by its name.

    Example:
        >>> describe(inspect.type_info(list[str]))
        'a list of texts'
    """
    match unwrap(kind):
        case inspect.UnionType(types=types):
            return " or ".join(describe(one, plural=plural) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return " or ".join(json.dumps(value) for value in values)
        case inspect.IntType(ge=least):
            return ("whole numbers" if plural else "a whole number") + ("" if least is None else f" from {least} up")
        case inspect.FloatType(ge=least, le=most):
            range_text = "" if least is None or most is None else f" from {least:g} to {most:g}"
            return ("numbers" if plural else "a number") + range_text
        case inspect.ListType(item_type=item):
            return f"{'lists' if plural else 'a list'} of {describe(item, plural=True)}"
        case plain:
            one, many = _WORDS.get(type(plain), ("a table", "tables"))
            return many if plural else one


_WORDS: dict[type[Kind], tuple[str, str]] = {
    inspect.AnyType: ("any value", "values"),
    inspect.StrType: ("text", "texts"),
    inspect.BoolType: ("true or false", "values that are true or false"),
}


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
