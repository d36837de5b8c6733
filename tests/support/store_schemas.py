"""Stores in PostgreSQL that cost little: each is in a schema of its own in one database."""

import itertools

from sqlalchemy import Engine, text

from pipeline.adapters.sql.engine import open_postgres, store_address, transaction
from tests.support.postgres import Database


class StoreSchemas:
    """Makes engines on empty schemas of a database, as its owner; ``close`` lets them go."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._address = store_address(database.url())
        self._numbers = itertools.count(1)
        self._engines: list[Engine] = []

    def engine(self) -> Engine:
        """Return an engine on a fresh schema."""
        return self.at(self.name())

    def name(self) -> str:
        """Make an empty schema and return its name."""
        name = f"store_{next(self._numbers)}"
        with transaction(self.at("public")) as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        return name

    def at(self, name: str) -> Engine:
        """Return another engine on a schema."""
        engine = open_postgres(self._address, f"-c search_path={name}")
        self._engines.append(engine)
        return engine

    def url(self, name: str) -> str:
        """Return what a setting says to name a schema."""
        return f"{self.database.url()}&options=-csearch_path%3D{name}"

    def close(self) -> None:
        """Close all engines."""
        for engine in self._engines:
            engine.dispose()
