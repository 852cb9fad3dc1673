"""Makes `reference/python-api.md` from the docstrings of what `everstep` exports: `python docs/python_api.py`."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import everstep

PAGE = Path(__file__).parent / "reference" / "python-api.md"

GROUPS = {
    "Workflows and steps": "WorkflowEntrypoint WorkflowStep current_step WorkflowEvent StepEvent StepContext Schedule",
    "Configuration of a step": "StepConfig Retries RetryContext RollbackContext StepConfigDict RetriesDict",
    "Engine and environment": "Everstep lifespan Env env SyncEverstep",
    "Instances": (
        "Workflow WorkflowInstance CreateBatchResult DeleteBatchResult BatchError InstancePage "
        "SyncWorkflow SyncInstance"
    ),
    "What an instance shows": (
        "InstanceStatus WaitingFor StepInfo StepPage AttemptInfo ErrorInfo RollbackStatus "
        "InstanceLink SubscriptionEvent"
    ),
    "The web side": "WorkerEntrypoint Request Response",
}
OTHERS = "More"
NAMES_OF_TYPES = "Names of types"

ALIASES = {
    "everstep.core.durations": "Duration",
    "everstep.core.policy.backoff": "Backoff",
    "everstep.core.policy.step_config": "DelayFunction RollbackFunction AnyStepConfig",
    "everstep.sdk.control": "Retention",
    "everstep.core.types": "Status StepType StepStatus",
}

HEAD = """\
# Python API

Everything that `from everstep import …` offers, made from the docstrings by `python docs/python_api.py`.
[Errors](errors.md) have a page of their own, and [workflows](workflows.md) has a program for every feature.
A duration is text, `"10 seconds"`, or a `timedelta`; times are aware UTC datetimes.
"""

SIGNATURES = {
    "WorkflowStep.do": [
        "do(name, fn, *args, **kwargs)",
        "do(name, config, fn, *args, **kwargs)",
        "@do(name=None, *, config=None, concurrent=False)",
    ],
}
"""Of what has more overloads than a reader wants to see."""

INSTEAD = {
    "env": "The environment of the app that is running: `from everstep import env`, then `env.ORDER_PIPELINE`. "
    "Its members are there while an engine runs in the process; before that, a `RuntimeError` says so.",
    "Request": "[Starlette's `Request`](https://www.starlette.io/requests/).",
}
"""What has no docstring of ours."""

DICTS = {"StepConfigDict": "StepConfig", "RetriesDict": "Retries"}
"""Of a class, the same as a plain dict."""

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Example):$", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", re.MULTILINE | re.DOTALL)
_WIDEST = 100


def page() -> str:
    """Return the whole page."""
    names = [name for name in everstep.__all__ if not _is_error(name)]
    placed = {title: listed.split() for title, listed in GROUPS.items()}
    if missing := [name for name in names if not any(name in listed for listed in placed.values())]:
        placed[OTHERS] = missing
    anchors = _anchors([name for listed in placed.values() for name in listed])
    contents = [
        f"- [{title}](#{title.lower().replace(' ', '-')}): "
        + ", ".join(f"[`{name}`](#{anchors[name]})" for name in listed)
        for title, listed in placed.items()
    ]
    contents.append(f"- [{NAMES_OF_TYPES}](#{NAMES_OF_TYPES.lower().replace(' ', '-')})")
    parts = [HEAD, "\n".join(contents) + "\n"]
    for title, listed in placed.items():
        parts += [f"## {title}\n", *(part for name in listed for part in _entry(name))]
    parts += [f"## {NAMES_OF_TYPES}\n", _aliases()]
    return "\n".join(parts)


def _anchors(names: list[str]) -> dict[str, str]:
    """How a heading is linked to: in lower case, and numbered where one that was above it reads the same."""
    anchors: dict[str, str] = {}
    for name in names:
        same = [one for one in anchors if one.lower() == name.lower()]
        anchors[name] = name.lower() + (f"-{len(same)}" if same else "")
    return anchors


def _is_error(name: str) -> bool:
    value = getattr(everstep, name)
    return isinstance(value, type) and issubclass(value, Exception)


def _entry(name: str) -> Iterator[str]:
    """One exported name: what it is, its fields, and then its methods."""
    value = getattr(everstep, name)
    yield f"### {name}\n"
    if name in INSTEAD:
        yield INSTEAD[name] + "\n"
        return
    if name in DICTS:
        yield f"{value.__doc__} The keys, all of which may be left out, are those of `{DICTS[name]}`.\n"
        return
    if not isinstance(value, type):
        yield _code([_signature(name, value)])
        yield _prose(value.__doc__)
        return
    if name == "Everstep":  # the one class among them that its users make themselves, other than data
        yield _code([_signature(name, value.__init__)])
    yield _prose(value.__doc__, fields=_fields(value))
    for method, member in vars(value).items():
        if not method.startswith("_") and (described := _member(name, method, member)):
            yield described


def _member(owner: str, name: str, member: Any) -> str | None:
    if isinstance(member, property):
        assert member.fget is not None
        shown = _code([f"{name}: {member.fget.__annotations__['return']}"])
        return f"#### {owner}.{name}\n\n{shown}\n{_prose(member.__doc__)}"
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    if not inspect.isfunction(function):
        return None
    lines = SIGNATURES.get(f"{owner}.{name}") or [_signature(name, function)]
    return f"#### {owner}.{name}\n\n{_code(lines)}\n{_prose(function.__doc__)}"


def _signature(name: str, function: Any) -> str:
    """Write a call with its types, one parameter a line where one line is too narrow."""
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    written: list[str] = []
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and "*" not in written:
            written.append("*")
        written.append(_parameter(one))
    given = signature.return_annotation
    back = "" if given in (signature.empty, "None") or name == "Everstep" else f" -> {_type(given)}"
    before = "await " if inspect.iscoroutinefunction(function) else ""
    line = f"{before}{name}({', '.join(written)}){back}"
    if len(line) <= _WIDEST:
        return line
    return f"{before}{name}(\n" + "".join(f"    {one},\n" for one in written) + f"){back}"


def _parameter(one: inspect.Parameter) -> str:
    default = "" if one.default is one.empty else f" = {one.default!r}"
    return f"{one.name}: {_type(one.annotation)}{default}"


def _type(annotation: Any) -> str:
    if not isinstance(annotation, str):
        return inspect.formatannotation(annotation)
    coroutine = re.fullmatch(r"Coroutine\[(?:None|Any), (?:None|Any), (.*)\]", annotation)
    return f"Awaitable[{coroutine[1]}]" if coroutine else annotation


def _fields(value: type) -> dict[str, str]:
    """The fields of a Struct, with their types as the source has them, and their defaults."""
    if issubclass(value, msgspec.Struct):
        defaults = {one.name: one.default for one in msgspec.structs.fields(value)}
        hints = {name: hint for cls in reversed(value.__mro__) for name, hint in inspect.get_annotations(cls).items()}
        found = {name: hints[name] for name in defaults}
        return {
            name: _type(hint).removesuffix(" | UnsetType") + _default(defaults[name]) for name, hint in found.items()
        }
    return {}


def _default(value: Any) -> str:
    plain = isinstance(value, str | int | float | tuple) or value is None
    return f" = {value!r}" if plain else ""


def _aliases() -> str:
    """The names of types in the signatures that are nothing but short for others."""
    rows = ["| name | stands for |", "|---|---|"]
    for module, names in ALIASES.items():
        source = ast.parse(inspect.getsource(importlib.import_module(module)))
        values = {ast.unparse(one.target): one.value for one in source.body if isinstance(one, ast.AnnAssign)}
        rows += [f"| `{name}` | `{_cell(ast.unparse(values[name]))}` |" for name in names.split()]
    return "\n".join(rows) + "\n"


def _prose(docstring: str | None, fields: dict[str, str] | None = None) -> str:
    """Write a docstring in Google's style as Markdown."""
    text = inspect.cleandoc(docstring or "")
    opening, *rest = _SECTION.split(text)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    parts = [opening.strip()]
    attributes = _entries(sections.pop("Attributes", ""))
    if fields:
        rows = [f"| `{name}` | `{_cell(hint)}` | {attributes.get(name, '')} |" for name, hint in fields.items()]
        parts.append("\n".join(["| field | type | |", "|---|---|---|", *rows]))
    elif attributes:
        parts.append(_listed(attributes))
    for title, body in sections.items():
        if title == "Example":
            parts.append("```pycon\n" + inspect.cleandoc(body) + "\n```")
        elif title == "Returns":
            parts.append("**Returns** " + " ".join(body.split()))
        else:
            heading = {"Args": "", "Raises": "**Raises**\n\n"}[title]
            parts.append(heading + _listed(_entries(body)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _entries(body: str) -> dict[str, str]:
    return {name: " ".join(text.split()) for name, text in _ENTRY.findall(body)}


def _listed(entries: dict[str, str]) -> str:
    return "\n".join(f"- `{name}`: {text}" for name, text in entries.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(lines: list[str]) -> str:
    return "```text\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
