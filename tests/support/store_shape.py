"""The shape of a store's tables as a database tells it, to be compared with what the program means."""

from typing import Any

from sqlalchemy import Engine, MetaData, inspect

from pipeline.adapters.sql.assessment_tables import ASSESSMENTS
from pipeline.adapters.sql.platform_tables import PLATFORM
from pipeline.adapters.sql.schema import VERSION_TABLE
from pipeline.adapters.sql.state_rows import STATE

OURS: tuple[MetaData, ...] = (PLATFORM, STATE, ASSESSMENTS)
TABLES = {name: table for metadata in OURS for name, table in metadata.tables.items()}


def shape(engine: Engine) -> dict[str, Any]:
    """Return columns, keys and comments of every table but the one of versions, as the database has them."""
    found = inspect(engine)
    names = sorted(set(found.get_table_names()) - {VERSION_TABLE})
    is_commented = engine.dialect.name == "postgresql"
    return {
        name: (
            [
                (column["name"], str(column["type"]), column["nullable"], column.get("comment"))
                for column in found.get_columns(name)
            ],
            found.get_pk_constraint(name)["constrained_columns"],
            [sorted(item["column_names"]) for item in found.get_unique_constraints(name)],
            found.get_table_comment(name)["text"] if is_commented else None,
        )
        for name in names
    }


def indexes(engine: Engine) -> dict[str, tuple[list[str | None], bool]]:
    """Return columns and uniqueness of every index that somebody named."""
    found = inspect(engine)
    return {
        str(item["name"]): (item["column_names"], bool(item["unique"]))
        for name in found.get_table_names()
        for item in found.get_indexes(name)
        if "duplicates_constraint" not in item
    }


def meant_indexes() -> dict[str, tuple[list[str | None], bool]]:
    """Return the same for what the program means."""
    return {
        str(index.name): ([column.name for column in index.columns], bool(index.unique))
        for table in TABLES.values()
        for index in table.indexes
    }
