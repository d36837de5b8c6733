"""Where an audit keeps how far it has come: one SQLite file, bound to a chain and to what is being audited."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text, select

from pipeline.adapters.sql.engine import open_sqlite, transaction, upsert
from pipeline.adapters.sql.state_rows import create_state_tables, load_state, save_changes
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.state import ChainState, Changes

_ONE: Final = 1
_SQLITE: Final = b"SQLite format 3\0"
_AUDIT: Final = MetaData()
_roots = Table(
    "audited_roots",
    _AUDIT,
    Column("tree_size", BigInteger, primary_key=True),
    Column("root", LargeBinary, nullable=False),
)
_point = Table(
    "audit_point",
    _AUDIT,
    Column("one", Integer, primary_key=True),
    Column("source", Text, nullable=False, comment="what is being audited"),
    Column("position", BigInteger, nullable=False),
    Column("report", Text, nullable=False),
)


class SqlAuditStore:
    """An audit's progress in a file, or with ``path`` None in a temporary one that ``close`` removes.

    ``source`` says what is audited, for people.

    Raises:
        ConfigError: the file is of another chain (code ``other_chain``), of another source, or no such file (code
            ``audit_resume``).
        TransientError: the disk refuses.
    """

    def __init__(self, path: Path | None, genesis: Genesis, source: str) -> None:
        self._genesis = genesis
        self._source = source
        self._temporary = TemporaryDirectory(prefix="bkdms-audit-") if path is None else None
        file = path if path is not None else Path(self._temporary.name if self._temporary else "") / "audit"
        _require_database(file)
        self._engine = open_sqlite(file, durable=path is not None)
        try:
            with transaction(self._engine) as connection:
                _AUDIT.create_all(connection)
                create_state_tables(connection, genesis)
                bound = connection.execute(select(_point.c.source)).scalar()
        except BaseException:
            self.close()
            raise
        if bound is not None and bound != source:
            self.close()
            raise ConfigError(
                f"{path} holds the progress of an audit of {bound}, not of {source}; name another file",
                code="audit_resume",
            )

    def load(self) -> tuple[ChainState, int, Mapping[str, Any]] | None:
        """Return state, position and report that were saved last, or None."""
        with transaction(self._engine) as connection:
            state = load_state(connection, self._genesis)
            row = connection.execute(select(_point)).first()
        if state is None or row is None:
            return None
        return state, row.position, json.loads(row.report)

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the saved block that ends at this tree size, or None."""
        with transaction(self._engine) as connection:
            return connection.execute(select(_roots.c.root).where(_roots.c.tree_size == size)).scalar()

    def save(
        self,
        changes: Changes | None,
        roots: Sequence[tuple[int, bytes]],
        position: int,
        report: Mapping[str, Any],
    ) -> None:
        """Store what blocks changed since the last call, the roots after each, and the point; all or nothing."""
        with transaction(self._engine) as connection:
            upsert(connection, _roots, [{"tree_size": size, "root": root} for size, root in roots])
            if changes is not None:
                save_changes(connection, changes)
            row = {"one": _ONE, "source": self._source, "position": position, "report": json.dumps(report)}
            upsert(connection, _point, [row])

    def close(self) -> None:
        """Close the file; a temporary one is gone then."""
        self._engine.dispose()
        if self._temporary is not None:
            self._temporary.cleanup()


def _require_database(file: Path) -> None:
    """Leave files alone that are something else."""
    try:
        with file.open("rb") as held:
            start = held.read(len(_SQLITE))
    except OSError:
        return
    if start not in (b"", _SQLITE):
        raise ConfigError(f"{file} is no file of an audit's progress; name another one", code="audit_resume")
