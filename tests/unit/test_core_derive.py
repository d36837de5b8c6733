"""When blocks close, and what goes into them."""

import pytest

from pipeline.core import avro
from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import MAX_CERTIFIED_BYTES, parse_block
from pipeline.core.contract import Contract
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError
from pipeline.core.outcome import Outcome
from pipeline.core.replica import Extended, extend
from tests.support.world import NOW_MS, PERIOD_MS, TestSite, World, control_value, packet_value

Log = list[tuple[int, bytes]]
START_MS = NOW_MS - NOW_MS % PERIOD_MS


class Line:
    """A chain with one enrolled site whose log is fed value by value."""

    def __init__(self, contract: Contract | None = None, nodes: int = 4, quorum: int = 3) -> None:
        self.world = World(nodes=nodes, quorum=quorum, contract=contract or Contract(period_ms=PERIOD_MS))
        self.site: TestSite = self.world.site(1)
        self.deriver = Deriver(self.world.state())
        self.log: Log = []
        self.blocks: list[Derived] = []
        for raw in self.world.enrolment(self.site):
            self.feed(control_value(raw), START_MS)

    def feed(self, value: bytes, time_ms: int) -> list[Derived]:
        """Put a value into the log and return the blocks that it closed."""
        fed = self.deriver.feed(LogRecord(len(self.log), time_ms, value))
        self.log.append((time_ms, value))
        self.blocks.extend(fed.closed)
        return list(fed.closed)

    def send(self, time_ms: int = START_MS, records: list[bytes] | None = None) -> list[Derived]:
        """Put the next packet of the site into the log."""
        return self.feed(packet_value(self.site.packet(records=records, time_ms=NOW_MS)), time_ms)


def test_records_of_one_period_wait_in_one_block() -> None:
    line = Line()
    assert line.send(START_MS + PERIOD_MS - 1) == []
    assert (line.deriver.open_entries, line.deriver.open_until) == (3, START_MS + PERIOD_MS)


@pytest.mark.parametrize("value", [TICK_VALUE, b"garbage", b""], ids=["tick", "refusal", "empty"])
@pytest.mark.parametrize("step", [PERIOD_MS, 10 * PERIOD_MS, -1, -10 * PERIOD_MS])
def test_any_record_of_another_period_closes_the_block(value: bytes, step: int) -> None:
    """Later or, after the broker's clock went back, earlier."""
    line = Line()
    (closed,) = line.feed(value, START_MS + step)
    header = closed.block.header
    assert (header.period_start, header.period_end) == (START_MS, START_MS + PERIOD_MS)
    assert (header.source.first, header.source.next) == (0, 2)
    assert (line.deriver.open_entries, line.deriver.open_until) == (0, None)


def test_the_record_that_closes_a_block_is_consumed_by_the_next_one() -> None:
    line = Line()
    line.feed(TICK_VALUE, START_MS + PERIOD_MS)
    line.send(START_MS + 2 * PERIOD_MS)
    (closed,) = line.feed(TICK_VALUE, START_MS + 3 * PERIOD_MS)
    assert (closed.block.header.source.first, closed.block.header.source.next) == (2, 4)
    assert closed.outcomes == {Outcome.TICK: 1, Outcome.ADMITTED: 1}


def test_periods_without_entries_make_no_block() -> None:
    line = Line()
    line.feed(TICK_VALUE, START_MS + PERIOD_MS)
    for number in range(2, 20):
        assert line.feed(TICK_VALUE if number % 2 else b"junk", START_MS + number * PERIOD_MS) == []
    assert line.deriver.close() == ()


def test_a_clock_that_goes_back_makes_periods_regress() -> None:
    line = Line()
    line.send(START_MS - 5 * PERIOD_MS)
    line.send(START_MS)
    line.feed(TICK_VALUE, START_MS + PERIOD_MS)
    headers = [derived.block.header for derived in line.blocks]
    assert [header.period_start for header in headers] == [START_MS, START_MS - 5 * PERIOD_MS, START_MS]
    assert [header.part for header in headers] == [0, 0, 0]


def test_the_entry_limit_closes_a_block_and_the_next_is_another_part_of_the_period() -> None:
    line = Line(Contract(period_ms=PERIOD_MS, max_entries=3))
    for _ in range(7):
        line.send()
    line.feed(TICK_VALUE, START_MS + PERIOD_MS)
    headers = [derived.block.header for derived in line.blocks]
    assert [header.entry_count for header in headers] == [3, 3, 3]
    assert [header.part for header in headers] == [0, 1, 2]
    line.send(START_MS + PERIOD_MS)
    (last,) = line.deriver.close()
    assert last.block.header.part == 0


@pytest.mark.parametrize("max_block", [122_880, 880_000])
def test_no_block_exceeds_the_byte_limit_and_none_is_needlessly_small(max_block: int) -> None:
    line = Line(Contract(period_ms=PERIOD_MS, max_block=max_block), nodes=8, quorum=8)
    for _ in range(2 * max_block // 58_000 + 2):
        line.send(records=[bytes(58_000)])
    line.feed(TICK_VALUE, START_MS + PERIOD_MS)
    sizes = [len(derived.block.encoded) for derived in line.blocks]
    assert max(sizes) <= max_block
    assert min(sizes[:-1]) > max_block - 60 * 1024
    certified = [line.world.certified(derived) for derived in line.blocks]
    assert max(map(len, certified)) + avro.FRAME_BYTES <= MAX_CERTIFIED_BYTES
    state = line.world.state()
    assert all(isinstance(extend(state, data), Extended) for data in certified)


def test_places_point_at_the_very_payloads() -> None:
    line = Line()
    for size in (1, 100, 9000):
        line.send(records=[bytes(size)])
    (closed,) = line.deriver.close()
    encoded, entries = closed.block.encoded, closed.block.entries
    found = [encoded[offset : offset + length] for offset, length in closed.block.places()]
    assert found == [entry.payload for entry in entries]
    assert parse_block(encoded) == closed.block


def test_the_same_log_gives_the_same_bytes_whenever_it_is_derived() -> None:
    line = Line(Contract(period_ms=PERIOD_MS, max_entries=4))
    for number in range(9):
        line.send(START_MS + number * PERIOD_MS // 3)
    again = Deriver(line.world.state())
    found = [
        derived.block.encoded
        for offset, (time, value) in enumerate(line.log)
        for derived in again.feed(LogRecord(offset, time, value)).closed
    ]
    assert found == [derived.block.encoded for derived in line.blocks]
    assert len(found) > 2


@pytest.mark.parametrize("offset", [0, 1, 3, 100])
def test_an_offset_that_does_not_follow_halts(offset: int) -> None:
    line = Line()
    with pytest.raises(IntegrityError, match="chain log jumps") as caught:
        line.deriver.feed(LogRecord(offset, START_MS, TICK_VALUE))
    assert caught.value.code == "log_gap"
    assert line.deriver.next_offset == 2


def test_a_null_value_counts_as_no_bytes_in_the_log_digest() -> None:
    digests = set()
    for value in (None, b""):
        line = Line()
        line.deriver.feed(LogRecord(2, START_MS, value))
        (closed,) = line.deriver.close()
        digests.add(closed.block.header.log_digest)
    assert len(digests) == 1


@pytest.mark.parametrize("change", ["value", "time", "order", "missing"])
def test_the_log_digest_changes_with_anything_that_was_consumed(change: str) -> None:
    rows = [(START_MS, b"first"), (START_MS + 1, b"second")]
    other = {
        "value": [(START_MS, b"first"), (START_MS + 1, b"Second")],
        "time": [(START_MS, b"first"), (START_MS + 2, b"second")],
        "order": [(START_MS, b"second"), (START_MS + 1, b"first")],
        "missing": rows[:1],
    }[change]
    digests = set()
    for values in (rows, other):
        line = Line()
        for time, value in values:
            line.feed(value, time)
        (closed,) = line.deriver.close()
        digests.add(closed.block.header.log_digest)
    assert len(digests) == 2


def test_a_flood_of_refusals_does_not_grow_what_is_kept() -> None:
    """Their outcomes are all counted and digested; only the first bytes are kept for dead letters."""
    line = Line()
    for number in range(80):
        line.feed(bytes([number]) * 60_000, START_MS)
    (closed,) = line.deriver.close()
    assert closed.outcomes[Outcome.FOREIGN_SCHEMA] + closed.outcomes[Outcome.MALFORMED] == 80
    assert sum(len(item.record.value or b"") for item in closed.refused) <= 4_000_000


def test_a_flood_of_empty_records_does_not_grow_what_is_kept() -> None:
    line = Line()
    for _ in range(20_000):
        line.feed(b"", START_MS)
    (closed,) = line.feed(TICK_VALUE, START_MS + PERIOD_MS)
    assert 0 < len(closed.refused) < 16_000
    assert closed.outcomes[Outcome.EMPTY] == 20_000
