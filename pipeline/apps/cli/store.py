"""``bkdms store``: the schema of the platform's store: bring it to this release, show it, write its SQL."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from sqlalchemy import Connection, func, select

from pipeline.adapters.sql.engine import open_existing, store_address, transaction
from pipeline.adapters.sql.platform_tables import blocks, kpi_records, platform_position
from pipeline.adapters.sql.schema import LATEST, SchemaState, migration_sql, read_schema, upgrade
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.store_database import grant_rights, locked_store_file, open_to_write

_FOUND_WRONG: Final = 1
store = typer.Typer(
    no_args_is_help=True,
    help="The tables of the platform's store (store.url): bring them to this release, show how they stand.",
)


class Dialect(StrEnum):
    """The databases that a store can be in."""

    POSTGRESQL = "postgresql"
    SQLITE = "sqlite"


@store.command()
def migrate(ctx: typer.Context) -> None:
    """Make the store's tables, or bring them to this release, and give other database users their rights.

    The platform worker does the same when it starts; this is for doing it at a time of your choice, with the worker
    stopped. All or nothing, in one transaction; doing it again changes nothing. Make a backup before.

    Example: bkdms --config settings/platform.toml store migrate
    """
    url = settings_of(ctx).store.url
    with locked_store_file(url):
        engine = open_to_write(url)
        try:
            before = upgrade(engine, grant_rights)
        finally:
            engine.dispose()
    if before.state is SchemaState.CURRENT:
        say(f"the store has schema {LATEST}, as this release needs it")
    else:
        say(f"the store has schema {LATEST} now; before: {before.version or before.state.value}")


@store.command()
def status(
    ctx: typer.Context,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Show where the store is, its schema, and how far it is filled. Changes nothing.

    Exit code 1: the schema is not that of this release.

    Example: bkdms --config settings/platform.toml store status --json
    """
    url = settings_of(ctx).store.url
    engine = open_existing(url)
    try:
        with transaction(engine) as connection:
            found = read_schema(connection)
            is_filled = found.state not in (SchemaState.EMPTY, SchemaState.NEWER)
            progress = _progress(connection) if is_filled else {}
    finally:
        engine.dispose()
    address = store_address(url).set(query={}).render_as_string(hide_password=True)
    document: dict[str, Any] = {"address": address, "needed": LATEST, **asdict(found), **progress}
    if json:
        emit_json(document)
    else:
        for name, value in document.items():
            print(f"{name.replace('_', ' '):<18} {value}")
    if found.state is not SchemaState.CURRENT:
        raise typer.Exit(_FOUND_WRONG)


@store.command()
def sql(
    *,
    dialect: Annotated[
        Dialect, typer.Option(help="Database that the statements are for.")
    ] = Dialect.POSTGRESQL,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="Schema that the store has, as `store status` shows it; without it: an empty database.",
        ),
    ] = "",
) -> None:
    """Write the SQL that `store migrate` would run, for reading it, or for running it by hand. Needs no database.

    Example: bkdms store sql --dialect postgresql --from 0001
    """
    print(migration_sql(dialect.value, start), end="")


def _progress(connection: Connection) -> dict[str, Any]:
    """Return how far a store is filled: last height, packets, next offset of the blocks topic."""
    position = connection.execute(select(platform_position.c.next_offset)).scalar()
    return {
        "height": connection.execute(select(func.coalesce(func.max(blocks.c.height), 0))).scalar_one(),
        "packets": connection.execute(select(func.count(kpi_records.c.tracing_code))).scalar_one(),
        "next_offset": position or 0,
    }
