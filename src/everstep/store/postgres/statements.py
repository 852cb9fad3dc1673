"""The statements of `sql/postgres.sql` by name, ready for one schema."""

from __future__ import annotations

from everstep.core.journal import StepRecord
from everstep.store.postgres.batch import DEFAULTS
from everstep.store.protocol import InstanceRecord
from everstep.store.python_version import PYTHON
from everstep.store.queries import load_migrations, load_queries
from everstep.store.read_rows import LINE, OUTLINE, cut_step, quoted

LOCAL_WAKE_GRACE_MS = 100
"""How long what is due is left to the worker that may have it in memory."""


def load_statements(schema: str) -> dict[str, str]:
    """Return every statement by name, for the tables of a schema."""
    fields = StepRecord.__struct_fields__
    queries = load_queries(
        "postgres/postgres.sql",
        instance=quoted(InstanceRecord.__struct_fields__),
        line=quoted(LINE),
        s_step=", ".join(_with_default(name) for name in fields),
        step=", ".join(fields),
        cut_step=cut_step("$4::int"),
        outline=", ".join(OUTLINE),
        grace_ms=str(LOCAL_WAKE_GRACE_MS),
        python=PYTHON,
    )
    for name in ("write_steps", "write_group"):
        queries[name] = queries[name].replace("{steps}", queries["steps"].replace("\n", "\n  "))
    return {name: in_schema(sql, schema) for name, sql in queries.items()}


def _with_default(field: str) -> str:
    if field not in DEFAULTS:
        return f"s.{field}"
    usual = DEFAULTS[field]
    return f"coalesce(s.{field}, {usual!r})" if isinstance(usual, str) else f"coalesce(s.{field}, {usual})".lower()


def load_scripts(schema: str) -> list[str]:
    """Return the migrations in order, for a schema."""
    return [in_schema(script, schema) for script in load_migrations("postgres")]


def in_schema(sql: str, schema: str) -> str:
    """Put another schema in the place of `everstep`."""
    if schema == "everstep":
        return sql
    return (
        sql.replace("everstep.", f"{schema}.")
        .replace("'everstep_", f"'{schema}_")
        .replace("'everstep'", f"'{schema}'")
        .replace("create schema everstep;", f"create schema {schema};")
    )
