"""The schema's version and the migrations that bring it up to date, one process at a time. Holds no script itself."""

from __future__ import annotations

from everstep.core.errors import SchemaVersionError, StoreError
from everstep.store.postgres.connection import ReconnectingConnection
from everstep.store.postgres.statements import load_scripts

_LOCK = 0x65766572_73746570
"""The key of the advisory lock: "everstep" in ASCII."""
_TABLES = """
select c.relname::text from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where n.nspname = $1::text and c.relname in ('schema_version', 'instance')
"""
"""Not by `to_regclass`: who waited for the lock may still remember that there was nothing."""
_RIGHTS = """
select quote_ident(current_user), quote_ident(current_database()), to_regnamespace($1::text) is not null,
       case when to_regnamespace($1::text) is null then has_database_privilege(current_database(), 'create')
            else has_schema_privilege($1::text, 'create') end
"""


async def migrate(connection: ReconnectingConnection, schema: str) -> int:
    """Bring the schema up to date and return its version. Raises SchemaVersionError if it is newer than this code.

    Scripts only add, so workers of the release before go on beside the new ones.
    """
    scripts = scripts_with_version(schema)
    if await version_of(connection, schema) == len(scripts):
        return len(scripts)
    await _check_rights(connection, schema)
    await connection.execute(f"begin; select pg_advisory_xact_lock({_LOCK})")
    try:
        for script in scripts[await version_of(connection, schema) :]:
            await connection.execute(script)
        await connection.execute("commit")
    except StoreError:
        await connection.execute("rollback")
        raise
    return len(scripts)


def scripts_with_version(schema: str) -> list[str]:
    """Return the migrations in order, each with the statements that write down that it was carried out."""
    return [
        f"{script}\ndelete from {schema}.schema_version;\ninsert into {schema}.schema_version values ({version});\n"
        for version, script in enumerate(load_scripts(schema), 1)
    ]


async def version_of(connection: ReconnectingConnection, schema: str) -> int:
    """Return the version of the schema, 0 where there is none.

    Raises:
        SchemaVersionError: if it is newer than this code.
        StoreError: if there are tables without a version.
    """
    tables = {name for (name,) in await connection.fetch(_TABLES, schema)}
    rows = []
    if "schema_version" in tables:
        rows = await connection.fetch(f"select version from {schema}.schema_version")  # noqa: S608  # a checked name
    version = int(rows[0][0]) if rows else 0
    known = len(load_scripts(schema))
    if version > known:
        raise SchemaVersionError(
            f"schema {schema!r} of the database has version {version}, newer than the {known} this everstep knows; "
            "upgrade everstep, or use the release that wrote it"
        )
    if "instance" in tables and not version:
        raise StoreError(
            f"schema {schema!r} of the database has a table 'instance' and no version, so everstep did not make it; "
            "give the database URL a schema of its own, ?schema=another"
        )
    return version


async def _check_rights(connection: ReconnectingConnection, schema: str) -> None:
    """Say what an administrator has to run, where this role may not make the tables."""
    [(role, database, is_there, may_create)] = await connection.fetch(_RIGHTS, schema)
    if may_create:
        return
    if is_there:
        raise StoreError(
            f"role {role} may not make tables in schema {schema!r}; let its owner run "
            f"`grant usage, create on schema {schema} to {role}`, or what `everstep db print-sql` prints"
        )
    raise StoreError(
        f"schema {schema!r} is not there and role {role} may not make it; let an administrator run "
        f"`create schema {schema} authorization {role}`, or `grant create on database {database} to {role}`"
    )
