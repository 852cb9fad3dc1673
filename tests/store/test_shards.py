"""The statements of PostgreSQL can be distributed by instance: none on a step's way joins rows of different ones."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from everstep.store.postgres.statements import load_scripts, load_statements

BY_INSTANCE = {"step", "attempt", "event", "status_event", "chunk", "tag"}
"""Distributed by `instance`, beside the rows of `instance`, which are by `pk`."""
REFERENCE = {"worker", "writer", "invalidation"}
STATEMENTS = load_statements("everstep")
GROUPED = {"write_steps", "write_group", "steps"}
"""The grouped write brings rows of many instances, each from its own arrays: it is split by instance."""
ACROSS = {
    "wake_if_satisfied": "a parent and its children",
    "list_expired": "a child and its parent",
    "descendants_of": "children, and theirs",
    "lock_descendants": "children, and theirs",
    "lock_with_parent": "a child and its parent",
    "take_over_running": "many, each with its own steps",
    "list_tagged": "a list",
}
"""What is off a step's way and looks at several instances."""
NAMED = re.compile(r"\beverstep\.(\w+)(?:\s+as\s+(\w+))?")
SAME = [
    r"instance = \$1", r"instance = any \(\$1", r"pk = \$1", r"pk = any \(\$\d", r"(?:\w+\.)?instance = (?:\w+\.)?pk",
    r"(?:\w+\.)?pk = (?:\w+\.)?(?:pk|instance)", r"(?:\w+\.)?instance = (?:\w+\.)?instance",
]  # fmt: skip


def tables(statement: str) -> list[str]:
    return [table for table, _ in NAMED.findall(STATEMENTS[statement]) if table in BY_INSTANCE | {"instance"}]


def migrated() -> str:
    """Return the scripts with every table under the name that it has in the end."""
    schema = "".join(load_scripts("everstep"))
    for old, new in re.findall(r"alter table everstep\.(\w+) rename to (\w+);", schema):
        schema = re.sub(rf"create table everstep\.{old}\b", f"create table everstep.{new}", schema)
    return schema


def test_every_table_is_distributed_or_a_reference():
    made = set(re.findall(r"create table everstep\.(\w+)", migrated()))
    assert made == BY_INSTANCE | REFERENCE | {"instance"}


@pytest.mark.parametrize("table", sorted(BY_INSTANCE))
def test_the_key_of_a_distributed_table_begins_with_its_instance(table: str):
    schema = migrated()
    [body] = re.findall(rf"create table everstep\.{table} \((.*?)\n\)", schema, re.DOTALL)
    assert re.search(r"primary key \(instance\b", body)


@pytest.mark.parametrize("name", sorted(set(STATEMENTS) - GROUPED - set(ACROSS)))
def test_a_statement_with_several_tables_stays_with_one_instance(name: str):
    found = tables(name)
    if len(found) < 2 or name in {"delete_worker", "heartbeat"}:  # these look at instances beside a reference table
        return
    assert any(re.search(pattern, STATEMENTS[name]) for pattern in SAME), name
    # Two instances would be two rows of `instance` joined by something else than their key.
    assert found.count("instance") <= 1 or name.startswith(("lock", "invalidate")), name


def test_the_grouped_write_joins_nothing_but_by_instance():
    for name in ("write_steps", "write_group"):
        for condition in re.findall(r"\bjoin (?:mine|moved) on (.*?)$", STATEMENTS[name], re.MULTILINE):
            assert re.fullmatch(
                r"(?:mine|moved)\.pk = \w+\.(?:pk|instance)(?: and moved\.status = m\.status)?", condition
            ), condition


def test_what_is_said_to_look_at_several_instances_exists():
    text = (resources.files("everstep.store") / "postgres" / "postgres.sql").read_text(encoding="utf-8")
    for name in (*GROUPED, *ACROSS):
        assert f"-- name: {name}\n" in text
