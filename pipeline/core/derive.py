"""Derivation: the chain log in, blocks out. A block's bytes are a pure function of the log."""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from pipeline.core.admission import Parsed, SignatureCheck, enact, is_signed, judge, parse_value
from pipeline.core.block import HEADER_VERSION, Block, Entry, Header, Kind, LogSource, make_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.control import Control, Reanchor
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import RULES_VERSION
from pipeline.core.merkle import Frontier, root_of
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet
from pipeline.core.quorum import Policy
from pipeline.core.state import ChainState, Changes

_DIGEST_PREFIX = b"bkdms/log/v1\x00"
_DIGEST_ITEM = struct.Struct(">QQ32sB")
_HEADER_ROOM_BYTES = 1024
_MAX_REFUSED_BYTES = 4_000_000
_REFUSED_OVERHEAD_BYTES = 256  # what a refusal costs beside its value, so that empty ones are bounded, too


class LogRecord(NamedTuple):
    """One record of the chain log: offset, broker time in milliseconds, value."""

    offset: int
    time_ms: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that the chain refused."""

    record: LogRecord
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived block: tree before it, its checkpoint, what it changed and refused, outcomes counted.

    ``policy`` is the one that certifies it: that in force before it.
    """

    block: Block
    before: Frontier
    checkpoint: Checkpoint
    changes: Changes
    policy: Policy
    refused: tuple[Refused, ...]
    outcomes: Counter[Outcome]


class Fed(NamedTuple):
    """What feeding one record gave: its outcome and the blocks that it closed, if any."""

    outcome: Outcome
    closed: tuple[Derived, ...] = ()


class Deriver:
    """Feeds records of the chain log into a state and closes blocks (Y.4907 clause 9)."""

    def __init__(self, state: ChainState) -> None:
        self.state = state
        self.next_offset = state.head.next_offset
        self._open()

    def _open(self) -> None:
        self._first = self.next_offset
        self._incarnation = self.state.head.incarnation
        self._is_untouched = True
        self._entries: list[Entry] = []
        self._entry_hashes: list[bytes] = []
        self._size = _HEADER_ROOM_BYTES
        self._period_start = 0
        self._digest = sha256(_DIGEST_PREFIX)
        self._refused: list[Refused] = []
        self._refused_bytes = 0
        self._outcomes: Counter[Outcome] = Counter()

    @property
    def open_until(self) -> int | None:
        """End of the period of the open block in broker time (ms), or None where no entry waits."""
        return self._period_start + self.state.contract.period_ms if self._entries else None

    @property
    def open_entries(self) -> int:
        """Number of entries in the open block."""
        return len(self._entries)

    def feed(self, record: LogRecord, parsed: Parsed | None = None, check: SignatureCheck = is_signed) -> Fed:
        """Apply one record; ``parsed`` saves parsing it again.

        Raises:
            IntegrityError: offsets are not consecutive, so the log is not the one consumed so far. They may
                jump where a reanchor is admitted. Code ``upgrade_needed``: the next block has rules that this
                release does not know.
        """
        if self.state.rules_version != RULES_VERSION:
            raise IntegrityError(
                f"block {self.state.head.height + 1} is made by rules version {self.state.rules_version}, which this "
                "release does not know; upgrade bkdms",
                code="upgrade_needed",
            )
        jumps, before = record.offset != self.next_offset, self.next_offset
        if jumps and not self._is_untouched:
            raise _gap(before, record.offset)
        closed: list[Derived] = []
        if self._entries and self._period_of(record.time_ms) != self._period_start:
            closed.append(self._close())
        if parsed is None:
            parsed = parse_value(record.value)
        outcome = judge(self.state, parsed, record.time_ms, check, opens_block=self._is_untouched)
        if outcome is Outcome.ADMITTED and isinstance(parsed, Control) and isinstance(parsed.body, Reanchor):
            self._first, self._incarnation = record.offset, parsed.body.incarnation
        elif jumps:
            raise _gap(before, record.offset)
        entry = _entry(parsed, record) if outcome is Outcome.ADMITTED else None
        size = entry.encoded_size if entry is not None else 0
        if entry is not None and self._size + size > self.state.contract.max_block:
            closed.append(self._close())
        self._consume(record, outcome)
        if entry is not None and not isinstance(parsed, Outcome):
            enact(self.state, parsed)
            self._add(entry, size)
            if len(self._entries) >= self.state.contract.max_entries or self.state.has_new_terms:
                closed.append(self._close())
        return Fed(outcome, tuple(closed))

    def close(self) -> tuple[Derived, ...]:
        """Close the open block where it is, as when its range of the log is derived again."""
        return (self._close(),) if self._entries else ()

    def _period_of(self, time_ms: int) -> int:
        return time_ms - time_ms % self.state.contract.period_ms

    def _add(self, entry: Entry, size: int) -> None:
        if not self._entries:
            self._period_start = self._period_of(entry.time_ms)
        self._entries.append(entry)
        self._entry_hashes.append(entry.leaf_hash)
        self._size += size

    def _consume(self, record: LogRecord, outcome: Outcome) -> None:
        value = record.value or b""
        self._digest.update(_DIGEST_ITEM.pack(record.offset, record.time_ms, sha256(value).digest(), outcome))
        self.next_offset = record.offset + 1
        self._is_untouched = False
        self._outcomes[outcome] += 1
        cost = len(value) + _REFUSED_OVERHEAD_BYTES
        if outcome.is_refusal and self._refused_bytes + cost <= _MAX_REFUSED_BYTES:
            self._refused.append(Refused(record, outcome))
            self._refused_bytes += cost

    def _close(self) -> Derived:
        block = make_block(self._header(), self._entries, self._entry_hashes)
        before, policy = self.state.head.frontier, self.state.policy
        frontier = self.state.seal(block)
        checkpoint = Checkpoint(self.state.genesis.origin, frontier.size, frontier.root())
        changes = self.state.take_changes()
        derived = Derived(block, before, checkpoint, changes, policy, tuple(self._refused), self._outcomes)
        self._open()
        return derived

    def _header(self) -> Header:
        head, genesis, period = self.state.head, self.state.genesis, self._period_start
        return Header(
            version=HEADER_VERSION,
            rules_version=self.state.rules_version,
            chain=genesis.chain,
            chain_id=genesis.url,
            height=head.height + 1,
            period_start=period,
            period_end=period + self.state.contract.period_ms,
            part=head.part + 1 if head.period_start == period else 0,
            previous_hash=head.block_hash,
            first_index=head.frontier.size,
            entry_count=len(self._entries),
            entries_root=root_of(self._entry_hashes),
            source=LogSource(
                self._incarnation, genesis.topic, genesis.partition, self._first, self.next_offset
            ),
            log_digest=self._digest.digest(),
            contract_hash=self.state.contract.hash,
        )


def _gap(expected: int, found: int) -> IntegrityError:
    return IntegrityError(f"chain log jumps from offset {expected} to {found}", code="log_gap")


def entries_root(entries: Sequence[Entry]) -> bytes:
    """Return the RFC 6962 root over a block's entries, 32 bytes."""
    return root_of([entry.leaf_hash for entry in entries])


def _entry(parsed: Parsed, record: LogRecord) -> Entry:
    kind = Kind.CONTROL if isinstance(parsed, Control) else Kind.PACKET
    payload = parsed.raw if isinstance(parsed, Packet | Control) else b""
    return Entry(kind, record.offset, record.time_ms, payload)
