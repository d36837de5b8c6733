"""Blocks are derived again from the chain log: what was left out, changed or refused otherwise is found."""

from dataclasses import replace

from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import Block, encode_certified, make_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.derive import entries_root
from pipeline.core.errors import IntegrityError
from pipeline.ports import Received
from pipeline.services.audit import Auditor, audit
from pipeline.services.audit_report import AuditReport
from pipeline.services.audit_sources import body_of, topic_windows
from pipeline.services.log_audit import LogAudit
from tests.support.chain import Chain, MemoryReader, MemoryTopic, framed
from tests.support.world import TestSite, control_value, packet_value


class LoggedChain(Chain):
    """A chain that keeps its log."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Received] = []

    def add(self, value: bytes) -> None:
        """Append one framed value to the chain log."""
        self.log.append(Received("kpi.chain.v1", 0, self._offset, self._time, None, value))
        super().add(value)


class LogReader:
    """``PartitionReader`` over a log whose front may be gone."""

    def __init__(self, log: list[Received], first: int = 0) -> None:
        self._log, self._first, self._next = log, first, 0

    async def seek(self, offset: int) -> None:
        """Make ``offset`` the next one to be fetched."""
        self._next = offset

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records."""
        if self._next < self._first:
            raise IntegrityError("trimmed", code="offset_out_of_range")
        found = self._log[self._next : self._next + max_records]
        self._next += len(found)
        return found

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset held and the one after the last."""
        return self._first, len(self._log)

    async def close(self) -> None:
        """Leave."""


def build() -> tuple[LoggedChain, TestSite]:
    chain = LoggedChain()
    site, stranger = chain.world.site(1), chain.world.site(2)
    chain.enrol(site)
    for number in range(9):
        chain.block(
            packet_value(site.packet([number])),
            packet_value(stranger.packet([1])),
            b"",
            packet_value(site.packet([2])),
        )
    return chain, site


CHAIN, SITE = build()


async def compared(
    log: list[Received], *, first: int = 0, trimmed: int | None = None, certified: list[bytes] | None = None
) -> AuditReport:
    """Audit the blocks, then derive them again from a log that holds ``first`` on, and after that ``trimmed`` on."""
    topic = MemoryTopic(values=[b"junk", *map(framed, certified or CHAIN.certified)])
    reader, end = MemoryReader(topic), len(topic.values)
    auditor = Auditor(CHAIN.world.genesis, strict=False, log_first=first)
    report = await audit(auditor, topic_windows(reader, 0, end), lambda _count: None)
    assert report.is_good, report.finding
    start = auditor.log_start
    report.log_blocks = 0
    if start is None:
        return report
    held = LogReader(log, first if trimmed is None else trimmed)
    again = LogAudit(start, held, auditor.state.head.incarnation, len(log))
    async for window in topic_windows(reader, start.position, end):
        for source in window:
            assert not isinstance(source.data, tuple)
            report.finding = report.finding or await again.take(source.data or b"", source.name)
    report.log_blocks = again.compared
    return report


async def test_a_whole_log_gives_every_block() -> None:
    report = await compared(CHAIN.log)
    assert report.finding is None
    assert report.log_blocks == len(CHAIN.blocks) == 10


async def test_a_trimmed_log_gives_the_blocks_whose_records_it_holds() -> None:
    starts = [derived.block.header.source.first for derived in CHAIN.blocks]
    for first, count in ((starts[7], 3), (starts[7] + 1, 2), (starts[9], 1), (starts[9] + 1, 0)):
        report = await compared(CHAIN.log, first=first)
        assert (report.finding, report.log_blocks) == (None, count)


async def test_a_log_that_is_trimmed_meanwhile_is_compared_from_where_it_goes_on() -> None:
    trimmed = CHAIN.blocks[6].block.header.source.first
    report = await compared(CHAIN.log, first=0, trimmed=trimmed)
    assert (report.finding, report.log_blocks) == (None, 4)


def with_value(offset: int, value: bytes | None) -> list[Received]:
    log = list(CHAIN.log)
    log[offset] = log[offset]._replace(value=value)
    return log


async def test_a_refused_record_that_is_another_one_is_found_by_the_digest() -> None:
    first = CHAIN.blocks[5].block.header.source.first
    refused = next(record.offset for record in CHAIN.log[first:] if record.value == b"")
    report = await compared(with_value(refused, TICK_VALUE))
    assert report.finding is not None
    assert (report.finding.reason, report.finding.height) == ("log_differs", 6)
    assert "log digest" in report.finding.detail


async def test_an_admitted_record_that_is_another_one_is_named_by_its_offset() -> None:
    entry = CHAIN.blocks[5].block.entries[1]
    report = await compared(with_value(entry.offset, b"gone"))
    assert report.finding is not None
    assert report.finding.height == 6
    assert f"entry 1 is not what the chain log gives from offset {entry.offset}" in report.finding.detail


async def test_blocks_of_records_that_a_shorter_log_does_not_hold_are_passed_over() -> None:
    report = await compared(CHAIN.log[: CHAIN.blocks[9].block.entries[1].offset])
    assert (report.finding, report.log_blocks) == (None, 9)
    report = await compared([])
    assert (report.finding, report.log_blocks) == (None, 0)


async def test_an_admissible_record_that_the_nodes_left_out_is_found() -> None:
    report = await compared(CHAIN.log, certified=[*CHAIN.certified[:9], left_out(CHAIN.blocks[9].block)])
    assert report.finding is not None
    assert report.finding.height == 10
    assert "entry 1" in report.finding.detail


def left_out(block: Block) -> bytes:
    """Return the last block without its last packet, as a lying quorum can certify it."""
    entries = block.entries[:1]
    header = replace(block.header, entry_count=1, entries_root=entries_root(entries))
    forged = make_block(header, entries)
    frontier = CHAIN.blocks[8].changes.head.frontier.extend(forged.leaf_hashes)
    checkpoint = Checkpoint(CHAIN.world.genesis.origin, frontier.size, frontier.root())
    return encode_certified(forged, CHAIN.world.certificate(checkpoint))


def test_the_body_of_a_record_is_found_in_its_frame_only() -> None:
    assert body_of(framed(CHAIN.certified[0])) == CHAIN.certified[0]
    assert body_of(control_value(b"x")) is None
    assert body_of(None) is None
