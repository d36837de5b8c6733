"""The store of the spool. Every public change is one transaction: all of it on disk, or none."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, repeat
from pathlib import Path
from typing import Any

from pipeline.adapters.spool.cipher import SpoolCipher
from pipeline.adapters.spool.latest import LatestRecords
from pipeline.adapters.spool.rows import MADE, STANDING, made_of, packet_row, receipt_row, stored_receipt
from pipeline.adapters.spool.schema import FORMAT, SpoolLock, connect, spool_errors
from pipeline.core.delivery import (
    Backlog,
    Confirms,
    Depth,
    Made,
    NewRecord,
    SpooledRecord,
    StoredPacket,
    StoredReceipt,
    Tip,
    Totals,
)
from pipeline.core.errors import ConfigError, ConflictError, IntegrityError
from pipeline.core.packet import FIRST_PREVIOUS

_PROBE = b"bkdms spool"
_TIME_BYTES = 8


class SqliteSpool:
    """The spool of one site; held by one program at a time. Calls from several threads are serialised.

    ``binding`` names chain and site; a spool serves only the one that it was made for.

    Raises:
        ConfigError: in use, made for another site, or the key is another one.
    """

    def __init__(
        self, path: Path, key: bytes, binding: bytes, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._path = path
        self._mutex = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = SpoolLock(path)
        self._cipher = SpoolCipher(key, binding, random)
        self._latest = LatestRecords()
        with contextlib.ExitStack() as undo:
            undo.callback(self._lock.release)
            self._database = connect(path)
            undo.callback(self._database.close)
            self._check(binding)
            undo.pop_all()

    def close(self) -> None:
        """Let go of the file; nothing is pending between calls."""
        with self._mutex:
            self._database.close()
            self._lock.release()

    def append(
        self, records: Sequence[NewRecord], position: str, rejected: Mapping[str, int], now_ms: int
    ) -> None:
        """Keep what one reading of the source gave: records, the position after them, refused fields by reason."""
        with self._transaction():
            (last,) = self._one("SELECT last_record FROM state")
            plains = [record.time_ms.to_bytes(_TIME_BYTES, "big") + record.data for record in records]
            cells = self._cipher.seal_rows(b"records", last + 1, plains)
            sizes = [len(plain) - _TIME_BYTES for plain in plains]
            rows = list(zip(count(last + 1), repeat(now_ms), sizes, cells, strict=False))
            self._database.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
            last += len(rows)
            place = self._cipher.seal(b"position", last, position.encode())
            self._database.execute("UPDATE state SET last_record = ?, position = ?", (last, place))
            self._database.executemany(
                "INSERT INTO rejected VALUES (?, ?) "
                "ON CONFLICT (reason) DO UPDATE SET fields = fields + excluded.fields",
                list(rejected.items()),
            )
        with self._mutex:
            self._latest.add(last - len(rows) + 1, records, now_ms)

    def position(self) -> str:
        """Return the source's position after what is kept; empty at first."""
        with self._reading():
            last, cell = self._one("SELECT last_record, position FROM state")
        return self._cipher.open(b"position", last, cell).decode() if cell else ""

    def totals(self) -> Totals:
        """Return what went through this spool since it was made."""
        with self._reading():
            spooled, packets = self._one("SELECT last_record, confirmed_packets FROM state")
            (confirmed,) = self._one("SELECT coalesce(max(last_record), 0) FROM receipt")
            rejected = dict(self._database.execute("SELECT reason, fields FROM rejected ORDER BY reason"))
        return Totals(spooled, confirmed, packets, rejected)

    def tip(self) -> Tip:
        """Return where the next packet goes on."""
        with self._reading():
            return self._tip()

    def backlog(self, limit: int) -> Backlog:
        """Return how many records are in no packet yet, and the size and age of the first ``limit`` of them."""
        with self._reading():
            after = self._tip().last_record
            (last,) = self._one("SELECT last_record FROM state")
            total, oldest = self._one(
                "SELECT coalesce(sum(size), 0), coalesce(min(spooled_ms), 0) FROM "
                "(SELECT size, spooled_ms FROM records WHERE record_id > ? ORDER BY record_id LIMIT ?)",
                (after, limit),
            )
        return Backlog(last - after, total, oldest)

    def waiting(self, limit: int) -> list[SpooledRecord]:
        """Return the first ``limit`` records that are in no packet yet, decrypted."""
        with self._reading():
            after = self._tip().last_record
            (last,) = self._one("SELECT last_record FROM state")
            remembered = self._latest.between(after, last, limit)
            if remembered is not None:
                return remembered
            query = "SELECT record_id, spooled_ms, cell FROM records WHERE record_id > ? ORDER BY record_id LIMIT ?"
            rows = self._database.execute(query, (after, limit)).fetchall()
        return [self._open_record(*row) for row in rows]

    def add_packet(self, packet: StoredPacket) -> None:
        """Keep a sealed packet, before it is sent for the first time.

        Raises:
            ConflictError: it does not go on from the tip.
        """
        made = packet.made
        with self._transaction():
            tip = self._tip()
            if (made.previous, made.first_record) != (tip.previous, tip.last_record + 1) or (
                made.sequence <= tip.sequence
            ):
                raise ConflictError(
                    f"packet {made.sequence} does not go on from the spool's tip", code="spool_tip"
                )
            self._database.execute("INSERT INTO packets VALUES (?, ?, ?, ?, ?, ?, ?, ?)", packet_row(packet))
            self._database.execute("UPDATE state SET sequence = ?", (made.sequence,))

    def live_packets(self, after: int, limit: int) -> list[StoredPacket]:
        """Return up to ``limit`` packets to be sent, with sequence above ``after``, in order."""
        with self._reading():
            rows = self._database.execute(
                f"SELECT {MADE}, raw FROM packets WHERE live AND sequence > ? ORDER BY sequence LIMIT ?",  # noqa: S608
                (after, limit),
            ).fetchall()
        return [StoredPacket(made_of(row[:-1]), row[-1]) for row in rows]

    def made(self) -> list[Made]:
        """Return all packets that are not confirmed, in order, superseded ones included."""
        with self._reading():
            return [
                made_of(row)
                for row in self._database.execute(f"SELECT {MADE} FROM packets ORDER BY sequence")  # noqa: S608
            ]

    def packet(self, packet_id: bytes) -> bytes | None:
        """Return the bytes of a packet of ours that is stored, the last confirmed one included."""
        with self._reading():
            row = self._database.execute(
                "SELECT raw FROM packets WHERE packet_id = ?1 "
                "UNION ALL SELECT packet FROM receipt WHERE packet_id = ?1",
                (packet_id,),
            ).fetchone()
        return None if row is None else row[0]

    def receipt(self) -> StoredReceipt | None:
        """Return the last verified head, or None before the first."""
        with self._reading():
            return stored_receipt(self._database)

    def confirm(self, receipt: StoredReceipt, verdict: Confirms) -> None:
        """Forget what is committed: records up to the confirmed packet's last, packets that are over."""
        with self._transaction():
            self._database.execute("DELETE FROM records WHERE record_id <= ?", (receipt.last_record,))
            self._database.executemany(
                "DELETE FROM packets WHERE packet_id = ?", [(packet_id,) for packet_id in verdict.dropped]
            )
            self._database.execute(
                "UPDATE state SET confirmed_packets = confirmed_packets + ?", (len(verdict.committed),)
            )
            self._database.execute(
                "INSERT OR REPLACE INTO receipt VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)", receipt_row(receipt)
            )

    def supersede(self) -> int:
        """Take the records of all unconfirmed packets for sealing anew; return how many packets that was.

        The packets stay stored, because one that was sent may still be admitted.
        """
        with self._transaction():
            return self._database.execute("UPDATE packets SET live = 0 WHERE live").rowcount

    def adopt(self, receipt: StoredReceipt) -> None:
        """Go on from a head that this spool did not make; unconfirmed records are sealed after it."""
        with self._transaction():
            self._database.execute("DELETE FROM packets")
            self._database.execute(
                "INSERT OR REPLACE INTO receipt VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)", receipt_row(receipt)
            )
            self._database.execute("UPDATE state SET sequence = max(sequence, ?)", (receipt.head.sequence,))

    def standing(self) -> list[tuple[int, bytes]]:
        """Return the registrar's records about the site that are kept: leaf index and encoded record, in order."""
        with self._reading():
            return self._database.execute(STANDING).fetchall()

    def keep_standing(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Keep these records about the site, in place of those kept before."""
        with self._transaction():
            self._database.execute("DELETE FROM standing")
            self._database.executemany("INSERT INTO standing VALUES (?, ?)", records)

    def depth(self) -> Depth:
        """Return how much is not yet confirmed."""
        with self._reading():
            (records,) = self._one(
                "SELECT last_record - coalesce((SELECT last_record FROM receipt), 0) FROM state"
            )
            packets, oldest_packet = self._one(
                "SELECT count(*), min(oldest_ms) FROM (SELECT oldest_ms FROM packets WHERE live)"
            )
            oldest = self._database.execute(
                "SELECT spooled_ms FROM records ORDER BY record_id LIMIT 1"
            ).fetchone()
            pages, free, page = (
                self._one(f"PRAGMA {name}")[0] for name in ("page_count", "freelist_count", "page_size")
            )
        first = min((t for t in (oldest and oldest[0], oldest_packet) if t is not None), default=None)
        return Depth(records, packets, (pages - free) * page, first)

    def _check(self, binding: bytes) -> None:
        """Make the state of a new spool; refuse one of another format, site or key."""
        with self._transaction():
            row = self._database.execute("SELECT format, binding, probe FROM state").fetchone()
            if row is None:
                probe = self._cipher.seal(b"probe", 0, _PROBE)
                self._database.execute(
                    "INSERT INTO state VALUES (1, ?, ?, ?, x'', 0, 0, 0)", (FORMAT, binding, probe)
                )
                return
        if row[0] != FORMAT:
            raise ConfigError(f"spool {self._path} has format {row[0]}, not {FORMAT}; upgrade bkdms")
        if row[1] != binding:
            raise ConfigError(
                f"spool {self._path} is of another site or chain; name a spool of its own for each site",
                code="spool_site",
            )
        try:
            self._cipher.open(b"probe", 0, row[2])
        except IntegrityError:
            raise ConfigError(
                f"spool {self._path} was made with another spool key; put that key file back",
                code="spool_key",
            ) from None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._mutex, spool_errors(self._path):
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._reading():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _one(self, query: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(query, values).fetchone()
        return row

    def _tip(self) -> Tip:
        (sequence,) = self._one("SELECT sequence FROM state")
        for table in ("packets WHERE live", "receipt"):
            row = self._database.execute(
                f"SELECT packet_id, last_record FROM {table} ORDER BY sequence DESC LIMIT 1"  # noqa: S608
            ).fetchone()
            if row is not None:
                return Tip(sequence, *row)
        return Tip(sequence, FIRST_PREVIOUS, 0)

    def _open_record(self, row: int, spooled_ms: int, cell: bytes) -> SpooledRecord:
        plain = self._cipher.open(b"records", row, cell)
        time_ms = int.from_bytes(plain[:_TIME_BYTES], "big")
        return SpooledRecord(row, time_ms, spooled_ms, plain[_TIME_BYTES:])
