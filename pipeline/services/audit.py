"""Audit of a whole chain from its genesis: every link, root, certificate, signature and admission again.

Reads what it is given and believes nothing; names the first bad bytes. Without an older checkpoint it can't know
whether all keys together rewrote history; its report says so.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK, parse_certified
from pipeline.core.damage import Damage, locate_damage
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.packet import Packet
from pipeline.core.replica import BlockReason, Extended, extend
from pipeline.core.state import ChainState, Tables
from pipeline.ports import PartitionReader
from pipeline.services.certificate_watch import CertificateWatch
from pipeline.services.follower import in_thread
from pipeline.services.signature_pool import DeferredChecks

_FETCH_TIMEOUT_MS: Final = 2000
_MAX_LISTED: Final = 100
WINDOW_BLOCKS: Final = 32
_NOT_EXCLUDED: Final = (
    "a history rewritten by a quorum of nodes together can't be excluded without an older checkpoint"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One encoded certified block as found: its name for people, its bytes, None where they are no block's record.

    ``height`` is what the place says it is (a file's name); 0 where the place does not say.
    """

    name: str
    data: bytes | None
    height: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong first: source, height expected there, reason, and the bytes in the source where they are known."""

    source: str
    height: int
    reason: str
    detail: str
    damage: Damage | None = None

    def __str__(self) -> str:
        where = f" ({self.damage})" if self.damage is not None else ""
        return f"{self.source}: block {self.height}: {self.reason}: {self.detail}{where}"

    def as_json(self) -> dict[str, Any]:
        """Return the finding as a JSON value."""
        damage = self.damage
        found = {"source": self.source, "height": self.height, "reason": self.reason, "detail": self.detail}
        if damage is None:
            return found
        return found | {
            "entry": damage.entry,
            "field": damage.field,
            "first_byte": damage.start,
            "last_byte": damage.end - 1,
            "damage": damage.detail,
        }


@dataclass(slots=True)
class AuditReport:
    """What an audit saw; ``finding`` is None for a good chain, ``skipped`` the first records that are no block."""

    blocks: int = 0
    packets: int = 0
    controls: int = 0
    signatures: int = 0
    repeats: int = 0
    skipped_count: int = 0
    height: int = 0
    tree_size: int = 0
    root: bytes = b""
    block_hash: bytes = b""
    chain_bytes: int = 0
    skipped: list[Finding] = field(default_factory=list)
    finding: Finding | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing wrong was found."""
        return self.finding is None

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        return {
            "audit_ok": self.is_good,
            "problem": None if self.finding is None else str(self.finding),
            "blocks": self.blocks,
            "packets": self.packets,
            "controls": self.controls,
            "signatures": self.signatures,
            "height": self.height,
            "tree_size": self.tree_size,
            "root": self.root.hex(),
            "block_hash": self.block_hash.hex(),
            "chain_bytes": self.chain_bytes,
            "repeats": self.repeats,
            "skipped_records": self.skipped_count,
            "skipped": [item.as_json() for item in self.skipped],
            "finding": None if self.finding is None else self.finding.as_json(),
            "not_excluded": _NOT_EXCLUDED,
        }


class Auditor:
    """Audits one chain. ``strict`` takes any source that is not the next block for a finding, as in a folder.

    Otherwise (a topic) repeats are fine, and what is no block of the chain is listed and matters only where no good
    block of that height follows. Signatures are checked on the pool's threads.
    """

    def __init__(self, genesis: Genesis, pool: ThreadPoolExecutor, *, strict: bool) -> None:
        self._deferred = DeferredChecks(pool)
        self._strict = strict
        self._state = ChainState(genesis)
        self._roots: dict[int, bytes] = {}
        self._watch = CertificateWatch(genesis, self._roots.get)
        self._open: Finding | None = None
        self.report = AuditReport()

    def take(self, sources: Sequence[Source]) -> bool:
        """Audit the next sources, in order; return whether to go on."""
        before = _copy(self._state)
        extended: list[Extended] = []
        for source in sources:
            result = extend(self._state, source.data or b"", self._deferred.check)
            if not isinstance(result, Extended):
                break
            extended.append(result)
        if not self._deferred.settle():
            # Some signature is bad: go back and find out which, one after the other.
            self._state, extended = before, []
        try:
            for result in extended:
                self._grow(result)
            return all(self._one(source) for source in sources[len(extended) :])
        except IntegrityError as error:
            self.report.finding = Finding("certificates", self.report.height, error.code, str(error))
            return False

    def finish(self) -> AuditReport:
        """Return the report after the last source."""
        report = self.report
        if report.finding is None:
            report.finding = self._open
        if report.finding is None and self._watch.ahead is not None:
            detail = f"the blocks end before the tree of {self._watch.ahead} leaves that the nodes certified"
            report.finding = Finding("end", report.height + 1, "block_gap", detail)
        return report

    def _one(self, source: Source) -> bool:
        height = self._state.head.height + 1
        if source.height not in (0, height):
            self.report.finding = Finding(source.name, height, "missing", f"block {height} is not there")
            return False
        data = source.data or b""
        result = extend(self._state, data)
        if isinstance(result, Extended):
            self._grow(result)
            return True
        self._weigh(data)
        if result.reason is BlockReason.REPEAT and not self._strict:
            self.report.repeats += 1
            return True
        damage = locate_damage(self._state, data)
        finding = Finding(source.name, height, result.reason.value, result.detail, damage)
        if self._strict:
            self.report.finding = finding
        elif self._open is None:
            self._open = finding
        else:
            self._skip(finding)
        return not self._strict

    def _grow(self, result: Extended) -> None:
        report, header, head = self.report, result.block.header, result.changes.head
        packets = sum(isinstance(admitted, Packet) for admitted in result.admitted)
        report.blocks += 1
        report.packets += packets
        report.controls += len(result.admitted) - packets
        report.signatures += len(result.admitted)
        report.height, report.block_hash, report.chain_bytes = (
            header.height,
            head.block_hash,
            head.chain_bytes,
        )
        report.tree_size, report.root = head.frontier.size, head.frontier.root()
        if not self._strict:
            self._roots[report.tree_size] = report.root
        if self._open is not None:
            self._skip(self._open)
            self._open = None
        self._watch.grown(head.frontier)
        self._watch.stored()

    def _skip(self, finding: Finding) -> None:
        self.report.skipped_count += 1
        if len(self.report.skipped) < _MAX_LISTED:
            self.report.skipped.append(finding)

    def _weigh(self, data: bytes) -> None:
        """Note a valid certificate on what is no next block; it must fit the chain all the same."""
        parsed = parse_certified(data)
        if parsed is not None and not self._strict:
            self._watch.check(parsed[1], self._state.policy, self._state.head.frontier.size)


async def audit(
    auditor: Auditor, windows: AsyncIterator[Sequence[Source]], progress: Callable[[int], None]
) -> AuditReport:
    """Audit all windows of sources; ``progress`` hears the number of sources after each.

    Raises:
        TransientError: the sources are away.
    """
    async for window in windows:
        go_on = await in_thread(partial(auditor.take, window))
        progress(len(window))
        if not go_on:
            break
    return auditor.finish()


async def topic_windows(reader: PartitionReader, first: int, end: int) -> AsyncIterator[list[Source]]:
    """Yield the records of a blocks topic from offset ``first`` up to ``end``, both from the reader's bounds.

    Raises:
        TransientError: Kafka is away.
    """
    position = first
    await reader.seek(position)
    while position < end:
        found = [
            record for record in await reader.fetch(WINDOW_BLOCKS, _FETCH_TIMEOUT_MS) if record.offset < end
        ]
        if found:
            position = found[-1].offset + 1
            yield [Source(f"{record.topic} offset {record.offset}", _body(record.value)) for record in found]


def _body(value: bytes | None) -> bytes | None:
    if value is None or avro.frame_id(value) != CERTIFIED_BLOCK.id:
        return None
    return value[avro.FRAME_BYTES :]


def _copy(state: ChainState) -> ChainState:
    tables = Tables(**{part: dict(getattr(state.tables, part)) for part in Tables.__slots__})
    return ChainState(state.genesis, tables, state.head)
