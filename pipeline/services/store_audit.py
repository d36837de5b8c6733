"""Audit of the platform's store: every row against what the verified blocks give (Y.4907 10.3).

Goes with an audit of the blocks, which hands over each block that it found good. The store counts as it stood at one
moment; blocks after its head are not compared. Memory: the chain's state, and a number per block.
"""

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pipeline.core.block import Kind
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.names import SiteName
from pipeline.core.packet import Packet
from pipeline.core.replica import Extended, assume_signed, extend
from pipeline.core.row_audit import Row, RowFinding, RowFindings, TableForm
from pipeline.core.state import ChainState, Head, Site
from pipeline.core.storage import (
    NO_KEY,
    Content,
    KeyRing,
    Mismatch,
    Status,
    StoredBlock,
    kpi_records,
    read_content,
)
from pipeline.core.stored_content import content_of_rows
from pipeline.core.tracing import TracingCode, parse_tracing_code
from pipeline.services.opening import AdmittingSites
from pipeline.services.store_progress import StoreProgress

BLOCKS: Final = "blocks"
RECORDS: Final = "kpi_records"
VALUES: Final = "observations"
OPENINGS: Final = "openings"
HEAD: Final = "chain_head"
POSITION: Final = "platform_position"
_HEAD_MARKS: Final = ("height", "block_hash", "frontier", "next_offset", "chain_bytes")
"""Columns of the head that name one block each; most of them tell which block the store stands at."""


class StoreSnapshot(Protocol):
    """A platform's store as it stood at one moment. Calls block and come from one thread at a time.

    Rows have the columns of their table, numbers and bytes as they are held.
    """

    forms: Mapping[str, TableForm]

    def last_height(self) -> int:
        """Return the greatest height in ``blocks``; 0 for none."""

    def block_rows(self, height: int, codes: Sequence[str]) -> dict[str, list[Row]]:
        """Return what is held of a block: its own row and all rows of its packets' tracing codes, by table."""

    def expected(self, stored: StoredBlock) -> dict[str, list[Row]]:
        """Return the rows that a block gives, by table."""

    def count(self, table: str) -> int:
        """Return how many rows a table holds."""

    def keys(self, table: str) -> Iterator[Row]:
        """Yield the keys of a table's rows."""

    def row(self, table: str, key: Row) -> Row:
        """Return the row with a key that ``keys`` gave."""

    def state_rows(self) -> dict[str, list[Row]]:
        """Return the rows of registry, chain state, head, identity and position, by table."""

    def expected_state(self, state: ChainState, changed: Mapping[SiteName, int]) -> dict[str, list[Row]]:
        """Return the rows that a state gives, without the position; ``changed``: heights of sites' changes."""


@dataclass(slots=True)
class StoreReport:
    """What an audit of a store saw: ``height`` that it stands at, and the rows that differ.

    ``unverified`` counts packets whose content can't be judged: no key is there, and the store holds nothing of it
    that the site's digest could be held against.
    """

    height: int = 0
    packets: int = 0
    values: int = 0
    unverified: int = 0
    is_beyond: bool = False
    problems: int = 0
    findings: list[RowFinding] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every row is the one that the ledger gives."""
        return not self.problems and not self.is_beyond

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        return {
            "store_ok": self.is_good,
            "height": self.height,
            "packets": self.packets,
            "values": self.values,
            "unverified_contents": self.unverified,
            "beyond_the_blocks": self.is_beyond,
            "problems": self.problems,
            "findings": [finding.as_json() for finding in self.findings],
        }


class StoreAudit:
    """Compares one store with the blocks of one chain, from the first on."""

    def __init__(self, genesis: Genesis, snapshot: StoreSnapshot, keys: KeyRing) -> None:
        self._snapshot = snapshot
        self._keys = keys
        self._state = ChainState(genesis)
        self._admitting = AdmittingSites(self._state)
        self._changed: dict[SiteName, int] = {}
        self._held = snapshot.state_rows()
        self._last_height = snapshot.last_height()
        self._is_done = False
        self._entries = array("Q")
        self._controls: set[tuple[int, int]] = set()
        self._seen = dict.fromkeys((BLOCKS, RECORDS, VALUES, OPENINGS), 0)
        self._findings = RowFindings()
        self._progress = StoreProgress(self._held[POSITION])
        self._report = StoreReport()
        self._look_at_head()

    def take(self, data: bytes, kafka_offset: int | None) -> None:
        """Compare the next block, verified by others; ``kafka_offset`` is None where it was not read from Kafka.

        Raises:
            IntegrityError: it is not the next block (code ``not_verified``), or the database contradicts itself.
            TransientError: the database is away.
        """
        if self._is_done:
            self._progress.next_block(kafka_offset)
            return
        extended = extend(self._state, data, assume_signed)
        if not isinstance(extended, Extended):
            raise IntegrityError(f"a block that was not verified: {extended}", code="not_verified")
        self._note_entries(extended)
        held = self._snapshot.block_rows(extended.block.header.height, _codes(extended))
        for table, rows in held.items():
            self._seen[table] += len(rows)
        offset = self._progress.offset_of(held[BLOCKS], kafka_offset)
        stored = self._stored(extended, offset, held)
        self._progress.block(stored)
        for table, rows in self._snapshot.expected(stored).items():
            self._findings.compare(self._snapshot.forms[table], rows, held[table])
        for site in extended.changes.tables.sites:
            self._changed[site] = extended.block.header.height
        self._look_at_head()

    def finish(self, end: int | None = None) -> StoreReport:
        """Return what was found, the blocks ending with the last one taken, their topic at offset ``end``."""
        report = self._report
        height = self._state.head.height
        if not self._is_done:
            report.is_beyond = min(self._claimed_height(), self._last_height) > height
            if not report.is_beyond:
                self._compare_state()
        report.height = height
        if not report.is_beyond:
            self._find_strays()
            self._compare_position(end)
        report.findings = self._findings.listed()
        report.problems = self._findings.count
        return report

    def _note_entries(self, extended: Extended) -> None:
        block = extended.block
        height = block.header.height
        self._entries.append(len(block.entries))
        self._controls |= {(height, i) for i, e in enumerate(block.entries) if e.kind is not Kind.PACKET}

    def _stored(self, extended: Extended, offset: int, held: dict[str, list[Row]]) -> StoredBlock:
        """Return the block as it should be stored; contents come from the packets or, without a key, from the rows."""
        by_code = {table: _by_code(held[table]) for table in (RECORDS, OPENINGS, VALUES)}
        contents, unsigned = [], set()
        for code, (packet, site) in zip(_codes(extended), self._admitting.packets(extended), strict=True):
            content = read_content(packet, site, self._keys)
            if content.status is Status.UNOPENED:
                found = self._without_key(packet, site, *(rows.get(code, []) for rows in by_code.values()))
                if found is None:
                    unsigned.add(code)
                content = found or Content(Status.OK)
            contents.append(content)
        self._unsigned(unsigned, held)
        self._report.packets += len(contents)
        self._report.values += sum(len(record.values) for content in contents for record in content.records)
        return StoredBlock(extended, offset, tuple(kpi_records(extended, contents)))

    def _without_key(
        self, packet: Packet, site: Site, record: list[Row], seed: list[Row], values: list[Row]
    ) -> Content | None:
        """Return a packet's content as its rows have it, or None where that is not what its site signed."""
        status = record[0]["status"] if record else Status.UNOPENED
        if values or (seed and status == Status.OK):
            return content_of_rows(packet, site, seed[0]["seed"] if seed else b"", values)
        self._report.unverified += 1
        if status == Status.MISMATCH and record[0]["reason"] in set(Mismatch):
            return Content(Status.MISMATCH, record[0]["reason"], seed[0]["seed"] if seed else b"")
        return Content(Status.UNOPENED, NO_KEY)

    def _unsigned(self, codes: Collection[str], held: dict[str, list[Row]]) -> None:
        """Note packets whose values are not those that their sites signed, and compare these no further."""
        detail = "this packet's rows and its seed in openings do not give the digest that the site signed"
        for code in sorted(codes):
            self._findings.note(self._snapshot.forms[VALUES], {"tracing_code": code}, (), detail)
        for table in (VALUES, OPENINGS) if codes else ():
            held[table] = [row for row in held[table] if row["tracing_code"] not in codes]

    def _look_at_head(self) -> None:
        """Notice when this is the block that the store stands at, and compare what follows from the whole chain."""
        height = self._state.head.height
        rows = self._held[HEAD]
        if rows:
            is_here = sum(_mark(self._state.head, name) == rows[0][name] for name in _HEAD_MARKS) >= 3
            is_past = height >= max(self._claimed_height(), self._last_height)
        else:
            is_here, is_past = False, height >= self._last_height
        if is_here or is_past:
            self._compare_state()
            self._is_done = True

    def _claimed_height(self) -> int:
        height = self._held[HEAD][0]["height"] if self._held[HEAD] else 0
        return height if isinstance(height, int) else 0

    def _compare_state(self) -> None:
        expected = self._snapshot.expected_state(self._state, self._changed)
        for table, rows in expected.items():
            self._findings.compare(self._snapshot.forms[table], rows, self._held[table])

    def _find_strays(self) -> None:
        """Find rows that belong to no block, where a table holds more rows than were compared."""
        for table, seen in self._seen.items():
            if self._snapshot.count(table) == seen:
                continue
            for key in self._snapshot.keys(table):
                if not self._is_of_a_block(table, key):
                    self._findings.add(self._snapshot.forms[table], self._snapshot.row(table, key))

    def _compare_position(self, end: int | None) -> None:
        form, rows = self._snapshot.forms[POSITION], self._held[POSITION]
        self._findings.compare(form, [{**(rows[0] if rows else {}), "one": 1}], rows)
        for columns, detail in self._progress.problems(end):
            self._findings.note(form, rows[0], columns, detail)

    def _is_of_a_block(self, table: str, key: Row) -> bool:
        if table == BLOCKS:
            return isinstance(key["height"], int) and 1 <= key["height"] <= len(self._entries)
        text = key["tracing_code"]
        code = parse_tracing_code(text) if isinstance(text, str) else None
        if code is None or str(code) != text or code.chain != self._state.chain[:5]:
            return False
        is_entry = code.height <= len(self._entries) and code.entry < self._entries[code.height - 1]
        return is_entry and (code.height, code.entry) not in self._controls


def _codes(extended: Extended) -> list[str]:
    """Return the tracing codes of a block's packets, in order."""
    block = extended.block
    chain, height = block.header.chain[:5], block.header.height
    packets = (i for i, entry in enumerate(block.entries) if entry.kind is Kind.PACKET)
    return [str(TracingCode(chain, height, index)) for index in packets]


def _by_code(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["tracing_code"], []).append(row)
    return found


def _mark(head: Head, name: str) -> Any:
    return head.frontier.encode() if name == "frontier" else getattr(head, name)
