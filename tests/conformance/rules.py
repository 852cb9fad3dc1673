"""The table of rules in the README, made from the tests: `python -m conformance.rules` in `tests` writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
README = HERE / "README.md"
ORDER = """
entrypoint event durations step_config retries timeouts dynamic_delay context idempotency_key
rollback streams sensitive sleeps
wait_for_event names parallel errors serialisation create lifecycle status buffering subscribe retention limits
known_defects
""".split()  # noqa: SIM905  # a list of them would be as long as the module


class Rule(NamedTuple):
    """One rule: its sentence, where it comes from, its test, and why the product breaks it, if it does."""

    sentence: str
    source: str
    test: str
    deviation: str | None


def rules_of(section: str) -> Iterator[Rule]:
    """Read the rules of one file of tests."""
    tree = ast.parse((HERE / f"test_{section}.py").read_text())
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            words = node.name.removeprefix("test_").replace("_", " ")
            source = " ".join((ast.get_docstring(node) or "").split())
            yield Rule(words[0].upper() + words[1:], source, node.name, _deviation(node))


def _deviation(node: ast.AST) -> str | None:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.xfail":
            reasons = [word.value for word in call.keywords if word.arg == "reason"]
            if reasons and isinstance(reasons[0], ast.Constant):
                return str(reasons[0].value)
            return "in one case, see the test"
    return None


def tables() -> str:
    """Write every section's table."""
    text = []
    for section in ORDER:
        tree = ast.parse((HERE / f"test_{section}.py").read_text())
        heading = section.replace("_", " ").capitalize()
        text += [f"## {heading}", "", f"{ast.get_docstring(tree)} `test_{section}.py`", ""]
        text += ["| Rule | From | Test |", "| --- | --- | --- |"]
        for rule in rules_of(section):
            mark = "" if rule.deviation is None else f" **Broken:** {rule.deviation}."
            text.append(f"| {rule.sentence}.{mark} | {rule.source} | `{rule.test}` |")
        text.append("")
    return "\n".join(text)


def document() -> str:
    """Write the whole README."""
    rules = [rule for section in ORDER for rule in rules_of(section)]
    broken = sum(rule.deviation is not None for rule in rules)
    return f"""# Conformance

What Cloudflare Workflows promises, rule by rule, and one test for each. `I` is the inventory of the original
(`research/cloudflare-workflows.md`), `S` is Everstep's contract (`spec.md`); where they differ, the contract wins and
the line says how the original had it. The sections follow the inventory; the last one is its §10.7, the known defects
that are not to be copied.

The tests use the public API, and the machines and the virtual clock of `tests/engine`. A rule the product breaks has a
strict `xfail`, so that the day it is kept is noticed. The tables are made from the tests:
`cd tests && python -m conformance.rules` writes them, and `test_readme.py` fails when they are not up to date.

Rules: {len(rules)}. Broken: {broken}.

Not here, because no part of the product offers it yet: schedules and `event.schedule` (I §1.2, §2.10), the mocks of
`everstep.testing` (I §7), `create_batch` by `count` (I §2.2), location hints (I §2.1), the wider alphabet of ids that
address instances created by a schedule (I §2.3).

{tables()}"""


if __name__ == "__main__":
    README.write_text(document().rstrip() + "\n")
