"""The schema's version and the migrations that bring it up to date, one process at a time. Holds no script itself."""

from __future__ import annotations

from everstep.core.errors import SchemaVersionError, StoreError
from everstep.store.postgres.link import Link
from everstep.store.postgres.statements import load_scripts

_LOCK = 0x65766572_73746570
"""The key of the advisory lock: "everstep" in ASCII."""


async def migrate(link: Link, schema: str) -> int:
    """Bring the schema up to date and return its version. Raises SchemaVersionError if it is newer than this code.

    Scripts only add, so workers of the release before go on beside the new ones.
    """
    scripts = load_scripts(schema)
    if await version_of(link, schema) == len(scripts):
        return len(scripts)
    await link.script(f"begin; select pg_advisory_xact_lock({_LOCK})")
    try:
        await link.script(
            f"create schema if not exists {schema}; "
            f"create table if not exists {schema}.schema_version (version integer not null)"
        )
        done = await version_of(link, schema)
        _check(done, len(scripts), schema)
        for number in range(done, len(scripts)):
            await link.script(scripts[number])
            await link.script(
                f"delete from {schema}.schema_version; "  # noqa: S608  # a checked name
                f"insert into {schema}.schema_version values ({number + 1})"
            )
        await link.script("commit")
    except StoreError:
        await link.script("rollback")
        raise
    return len(scripts)


async def version_of(link: Link, schema: str) -> int:
    """Return the version of the schema, 0 where there is none. Raises SchemaVersionError if it is newer than ours."""
    [(table,)] = await link.fetch("select to_regclass($1)::text", f"{schema}.schema_version")
    if table is None:
        return 0
    rows = await link.fetch(f"select version from {schema}.schema_version")  # noqa: S608  # a checked name
    version = int(rows[0][0]) if rows else 0
    _check(version, len(load_scripts(schema)), schema)
    return version


def _check(version: int, known: int, schema: str) -> None:
    if version > known:
        raise SchemaVersionError(
            f"schema {schema!r} of the database has version {version}, newer than the {known} this everstep knows; "
            "upgrade everstep, or use the release that wrote it"
        )
