"""The judgement: plan, ledger and store compared, counted, and what is wrong named."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from ops.oracle.avro_files import Schemas
from ops.oracle.compare import Difference, RowKey, Stored, compare
from ops.oracle.hashes import records_digest
from ops.oracle.input_error import InputError
from ops.oracle.ledger import Ledger, LedgerPacket, read_ledger
from ops.oracle.plan import Amount, Place, Plan, Point, address_text, exact_number, planned_records
from ops.oracle.store import Row, Store, read_store, rebuild_records

MAX_NAMED: Final = 20
_EXAMPLES: Final = 3
_OK: Final = "ok"
_MISMATCH: Final = "mismatch"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle found. ``is_clean`` where every count of faults is zero and nothing is wrong."""

    sites: int
    packets: int
    records: int
    values: int
    observations_stored: int
    missing: int
    doubled: int
    altered: int
    unexpected: int
    heights: int
    repeats: int
    set_aside: int
    mismatched: list[dict[str, str]]
    per_site: dict[str, dict[str, int]]
    problem_count: int
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether everything holds."""
        return not (self.missing or self.doubled or self.altered or self.unexpected or self.problem_count)


def judge(
    plan: Plan, block_values: Iterable[bytes], store: Path, schemas: Path, genesis: Path | None = None
) -> Verdict:
    """Judge raw values of the blocks topic, in order, and a SQLite store by a plan.

    ``schemas`` is the folder of Avro schemas, ``genesis`` the genesis file that pins the chain.

    Raises:
        InputError: plan, store, schemas or genesis are missing or not what they should be.
    """
    known = Schemas(schemas)
    expected = {site.place: planned_records(plan, site) for site in plan.sites}
    ledger = read_ledger(block_values, known, _genesis_hash(genesis))
    return _Judge(known, expected, ledger, read_store(store)).verdict()


def _genesis_hash(path: Path | None) -> bytes | None:
    try:
        return sha256(path.read_bytes()).digest() if path else None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


class _Judge:
    def __init__(
        self,
        schemas: Schemas,
        expected: dict[Place, list[list[tuple[Point, Amount]]]],
        ledger: Ledger,
        store: Store,
    ) -> None:
        self._schemas = schemas
        self._expected = expected
        self._ledger = ledger
        self._store = store
        self._rows = {row["tracing_code"]: row for row in store.packets}
        self._problems: list[str] = list(ledger.problems)
        self._altered_rows: set[RowKey] = set()
        self._altered_packets: set[str] = set()

    def verdict(self) -> Verdict:
        difference = compare(
            (value for records in self._expected.values() for record in records for value in record),
            self._stored_values(),
        )
        self._altered_rows |= difference.altered
        self._check_blocks()
        self._check_rows()
        ledger_records, repeated = self._count_records()
        missing = _largest(difference.missing, self._short(ledger_records))
        doubled = _largest(difference.doubled, repeated)
        problems = list(_examples_first([*difference.problems, *self._problems]))
        values = {p: sum(map(len, records)) for p, records in self._expected.items()}
        return Verdict(
            sites=len(self._expected),
            packets=sum(1 for packet in self._ledger.packets if self._counts(packet)),
            records=ledger_records.total(),
            values=sum(values.values()),
            observations_stored=sum(map(len, self._store.values.values())),
            missing=missing,
            doubled=doubled,
            altered=len(self._altered_rows) + len(self._altered_packets),
            unexpected=difference.unexpected.total(),
            heights=len(self._ledger.blocks),
            repeats=self._ledger.repeats,
            set_aside=self._ledger.set_aside,
            mismatched=list(self._mismatched()),
            per_site=self._per_site(ledger_records, values, difference),
            problem_count=len(problems),
            problems=problems[:MAX_NAMED],
        )

    def _stored_values(self) -> Iterator[tuple[Point, Stored]]:
        for rows in self._store.values.values():
            for row in rows:
                key = RowKey(row["tracing_code"], row["record"], row["number"])
                try:
                    exact = exact_number(row["exact"])
                    place = Place(row["country"], row["city"], address_text(row["site_id"]))
                except ValueError:
                    self._altered_rows.add(key)
                    self._problems.append(f"altered: row {key} has no exact value or no site identifier")
                    continue
                if float(exact) != row["value"]:
                    self._altered_rows.add(key)
                    self._problems.append(f"altered: row {key}: column value is not the exact {exact:f}")
                point = Point(place, row["time"], row["indicator"], row["data_point"])
                yield point, Stored(Amount(exact, row["unit"]), key)

    def _check_blocks(self) -> None:
        for row in self._store.blocks:
            block = self._ledger.blocks.get(row["height"])
            if block is None:
                self._problems.append(f"store: block {row['height']} is not in the ledger")
            else:
                self._compare_row(f"block {row['height']}", row, block)
        held = {row["height"] for row in self._store.blocks}
        for height in sorted(self._ledger.blocks.keys() - held):
            self._problems.append(f"store: block {height} is missing")

    def _check_rows(self) -> None:
        codes = {packet.tracing_code for packet in self._ledger.packets}
        for code in sorted((self._rows.keys() | self._store.values.keys()) - codes):
            self._problems.append(f"store: packet {code} is not in the ledger")
        for packet in self._ledger.packets:
            code = packet.tracing_code
            row = self._rows.get(code)
            if row is None:
                self._problems.append(f"store: packet {code} of {packet.place} is missing")
                continue
            wrong = self._compare_row(f"packet {code} of {packet.place}", row, packet.row)
            if wrong & {"city_data", "check_code", "packet_id"}:
                self._altered_packets.add(code)
            self._check_content(packet, row)

    def _compare_row(self, what: str, row: Row, computed: dict[str, Any]) -> set[str]:
        """Name the columns that differ from what the ledger gives, and return them."""
        wrong = {name for name, value in computed.items() if row.get(name) != value}
        if wrong:
            self._problems.append(f"store: {what}: not as in the ledger: {', '.join(sorted(wrong))}")
        return wrong

    def _check_content(self, packet: LedgerPacket, row: Row) -> None:
        code, values = packet.tracing_code, self._store.values.get(packet.tracing_code, [])
        what = f"packet {code} of {packet.place}"
        if row["status"] == _MISMATCH:
            if values:
                self._problems.append(f"store: {what} is set aside as {row['reason']} but has observations")
        elif row["status"] != _OK:
            self._problems.append(f"store: {what} is {row['status']}: {row['reason']}")
        elif packet.place not in self._expected:
            self._problems.append(f"{what}: the plan has no such site")
        elif not self._has_signed_digest(packet, values):
            self._problems.append(
                f"altered: {what}: stored values do not give the digest that the site signed"
            )
            if not any(key.tracing_code == code for key in self._altered_rows):
                self._altered_packets.add(code)

    def _has_signed_digest(self, packet: LedgerPacket, rows: list[Row]) -> bool:
        seed = self._store.seeds.get(packet.tracing_code)
        try:
            records = rebuild_records(rows, packet.record_count, self._schemas)
        except (ValueError, TypeError, OverflowError):
            return False
        if seed is None or records is None:
            return False
        ids = packet.chain, packet.site_id, packet.site_key
        return records_digest(*ids, packet.sequence, seed=seed, records=records) == packet.digest

    def _counts(self, packet: LedgerPacket) -> bool:
        """Whether a packet's records count as sent by its site: not set aside, and not there before."""
        row = self._rows.get(packet.tracing_code)
        return not packet.is_repeat and (row is None or row["status"] != _MISMATCH)

    def _count_records(self) -> tuple[Counter[Place], Counter[Place]]:
        """Return per site the records in the ledger, and those of packets that are there again."""
        once: Counter[Place] = Counter()
        again: Counter[Place] = Counter()
        for packet in self._ledger.packets:
            if self._counts(packet):
                once[packet.place] += packet.record_count
            elif packet.is_repeat:
                again[packet.place] += packet.record_count
        return once, again

    def _short(self, ledger_records: Counter[Place]) -> Counter[Place]:
        """Name the sites whose records in the ledger are not as many as told; return how many are lacking."""
        short: Counter[Place] = Counter()
        for place, records in self._expected.items():
            held, told = ledger_records[place], len(records)
            if held != told:
                self._problems.append(f"ledger: {place}: {held} records, told to send {told}")
                short[place] = max(0, told - held)
        return short

    def _mismatched(self) -> Iterator[dict[str, str]]:
        for packet in self._ledger.packets:
            row = self._rows.get(packet.tracing_code)
            if row is not None and row["status"] == _MISMATCH:
                yield {
                    "tracing_code": packet.tracing_code,
                    "site": str(packet.place),
                    "reason": row["reason"],
                }

    def _per_site(
        self, ledger_records: Counter[Place], values: dict[Place, int], difference: Difference
    ) -> dict[str, dict[str, int]]:
        packets = Counter(packet.place for packet in self._ledger.packets if self._counts(packet))
        return {
            str(place): {
                "packets": packets[place],
                "records": ledger_records[place],
                "values": told,
                "missing": difference.missing[place],
                "doubled": difference.doubled[place],
            }
            for place, told in values.items()
        }


def _largest(one: Counter[Place], other: Counter[Place]) -> int:
    """Count by site what either view shows: a fault is often seen in ledger and store alike."""
    return (one | other).total()


def _examples_first(problems: list[str]) -> Iterator[str]:
    """Put the first examples of each kind in front of the rest, so that none hides the others."""
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(problem.partition(":")[0], []).append(problem)
    for named in zip_longest(*(group[:_EXAMPLES] for group in kinds.values())):
        yield from filter(None, named)
    for group in kinds.values():
        yield from group[_EXAMPLES:]
