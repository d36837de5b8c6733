"""Rows of the spool's tables and the values that they stand for."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.adapters.spool.schema import spool_errors
from pipeline.core.delivery import Made, StoredPacket, StoredReceipt, VerifiedHead
from pipeline.core.errors import ConfigError

MADE = "sequence, packet_id, previous, first_record, last_record, oldest_ms, live"

STANDING = "SELECT leaf_index, raw FROM standing ORDER BY leaf_index"


def made_of(row: tuple[Any, ...]) -> Made:
    """Return the packet that the columns ``MADE`` describe."""
    sequence, packet_id, previous, first, last, oldest, live = row
    return Made(sequence, packet_id, previous, first, last, oldest, live=bool(live))


def packet_row(packet: StoredPacket) -> tuple[Any, ...]:
    """Return a row of table packets."""
    made = packet.made
    links = (made.sequence, made.packet_id, made.previous)
    return (*links, made.first_record, made.last_record, made.oldest_ms, int(made.live), packet.raw)


def receipt_row(receipt: StoredReceipt) -> tuple[Any, ...]:
    """Return the row of table receipt, without its constant id."""
    head = receipt.head
    verified = (head.sequence, head.packet_id, head.height, head.tree_size, head.root)
    return (*verified, receipt.last_record, receipt.verified_ms, receipt.packet, receipt.document)


def stored_receipt(database: sqlite3.Connection) -> StoredReceipt | None:
    """Return the receipt held, or None."""
    row = database.execute(
        "SELECT sequence, packet_id, height, tree_size, root, last_record, verified_ms, packet, document FROM receipt"
    ).fetchone()
    return None if row is None else StoredReceipt(VerifiedHead(*row[:5]), *row[5:])


def read_standing(path: Path) -> list[tuple[int, bytes]]:
    """Return the registrar's records about the site from a spool that an agent may be using; none without a spool."""
    if not path.exists():
        return []
    with _reading(path) as database:
        made = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'standing'").fetchone()
        return database.execute(STANDING).fetchall() if made else []


def read_receipt(path: Path) -> StoredReceipt | None:
    """Return the last verified head from a spool that an agent may be using.

    Raises:
        ConfigError: there is no spool.
    """
    with _reading(path) as database:
        return stored_receipt(database)


def read_delivery(path: Path) -> tuple[StoredReceipt | None, list[StoredPacket]]:
    """Return the last verified head and the packets after it, in order, from a spool that an agent may be using.

    Raises:
        ConfigError: there is no spool.
    """
    with _reading(path) as database:
        database.execute("BEGIN")  # both as they were at one moment
        receipt = stored_receipt(database)
        rows = database.execute(f"SELECT {MADE}, raw FROM packets ORDER BY sequence")  # noqa: S608
        return receipt, [StoredPacket(made_of(row[:-1]), row[-1]) for row in rows]


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise ConfigError(f"there is no spool at {path}; 'bkdms site run' makes it")
    address = f"{path.resolve().as_uri()}?mode=ro"
    with spool_errors(path), contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        yield database
