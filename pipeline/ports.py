"""What services need from the outside world, as protocols; adapters implement them.

All raise ``TransientError`` where the same call may succeed later; anything else is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.core.genesis import Genesis
from pipeline.core.keys import Use
from pipeline.core.sealing import SealingKey
from pipeline.core.signing import Signer
from pipeline.core.state import ChainState, Changes


class Received(NamedTuple):
    """One record from a topic; ``time_ms`` is its Kafka timestamp."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None


class Outgoing(NamedTuple):
    """One record for a topic; ``partition`` None lets the key decide."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Clock(Protocol):
    """Wall clock."""

    def now_ms(self) -> int:
        """Return GMT in milliseconds since 1970."""


class KeyProvider(Protocol):
    """Gives a program its private keys; where and how they are kept is the provider's."""

    def signer(self, path: Path, use: Use) -> Signer:
        """Return the signing key that a setting names, for one use.

        Raises:
            ConfigError: there is none, it can't be opened, or it is for another use.
        """


class SealingKeys(Protocol):
    """Gives the platform its sealing keys, and forgets those that were destroyed."""

    def get(self, fingerprint: bytes) -> SealingKey | None:
        """Return the key with this fingerprint (32 bytes), or None where there is none (any more)."""


class PartitionReader(Protocol):
    """Reads one partition from a position that the caller keeps."""

    async def seek(self, offset: int) -> None:
        """Make ``offset`` the next one to be fetched."""

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records, none if the time ran out.

        Raises:
            IntegrityError: code ``offset_out_of_range``: the position is not in the log (any more).
        """

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset held and the one after the last."""

    async def close(self) -> None:
        """Leave the broker."""


class GroupReader(Protocol):
    """Reads a topic as one of a group's members; what is not committed is read again, by us or another.

    One batch at a time: after ``fetch`` returned records comes ``commit`` or ``rewind``.
    """

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records of the partitions held, in order within each, none if the time ran out."""

    async def commit(self, positions: Mapping[int, int]) -> None:
        """Store the next offset of each partition of the batch.

        Raises:
            ConflictError: the partitions were handed out anew since the batch was fetched; nothing is stored.
        """

    async def rewind(self) -> None:
        """Make the first record of the batch the next one to be fetched, in every partition still held."""

    async def hold(self, partition: int, offset: int) -> None:
        """Fetch nothing more from a partition until ``release``, and then go on at ``offset``."""

    async def release(self, partition: int) -> None:
        """Fetch from a held partition again."""

    def appended(self) -> dict[int, int]:
        """Return end offsets of partitions held, as last heard of: what lies below was appended before now."""

    async def lag(self) -> dict[int, int]:
        """Return end offset minus committed offset of each partition held."""

    async def close(self) -> None:
        """Leave the group and the broker."""


class Producer(Protocol):
    """Sends records so that all are on disk, or says that some may not be."""

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Return when all records are acknowledged, in order.

        Raises:
            TransientError: some may be missing or doubled; send the same again from the first on.
        """

    async def close(self) -> None:
        """Flush and leave the broker."""


class WitnessClient(Protocol):
    """Asks outside witnesses (C2SP tlog-witness); what they answer is unverified."""

    async def add_checkpoint(self, url: str, request: bytes) -> tuple[int, bytes]:
        """Send a request to the witness with this submission prefix; return status and body, bounded.

        Raises:
            TransientError: nobody answers in time (code ``witness_away``).
        """

    async def close(self) -> None:
        """Disconnect."""


class Trimmer(Protocol):
    """Deletes the front of a log."""

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete records below offset ``before``."""


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """What the ledger says it holds last; unverified until checked.

    ``published`` is the height up to which blocks were published and read back.
    """

    height: int
    block_hash: bytes
    published: int


@dataclass(frozen=True, slots=True)
class LedgerBlock:
    """A certified block for the ledger: height, hash, encoded header, block with certificate."""

    height: int
    block_hash: bytes
    header: bytes
    certified: bytes


@dataclass(frozen=True, slots=True)
class SignedBlock:
    """What a node signed at a height: the block's hash and the cosignature message it sent.

    ``encoded`` is the block itself, kept until it is published, so that what was signed can be completed after a
    disaster; empty afterwards, and where it is not known.
    """

    height: int
    block_hash: bytes
    message: bytes
    encoded: bytes = b""


@dataclass(frozen=True, slots=True)
class StoredNode:
    """A node's folder: a state, the certified blocks after it, heights and positions.

    ``published`` is the highest block seen in the blocks topic, ``blocks_next`` the offset after it.
    """

    state: ChainState
    tail: tuple[LedgerBlock, ...]
    published: int
    blocks_next: int


class NodeStore(Protocol):
    """A node's own durable folder. Every write is on disk when the call returns."""

    def load(self, genesis: Genesis) -> StoredNode:
        """Return what is stored; the genesis state where nothing is.

        Raises:
            IntegrityError: the folder belongs to another chain.
        """

    def held_blocks(self, above: int) -> list[LedgerBlock]:
        """Return the certified blocks held above a height, in order."""

    def held_block(self, height: int) -> LedgerBlock | None:
        """Return the certified block held at a height, or None."""

    def add_block(self, changes_before: Changes | None, block: LedgerBlock) -> None:
        """Store a certified block, and what the block before it changed, in one transaction."""

    def mark_published(self, height: int, blocks_next: int, keep_from: int) -> None:
        """Store how far the blocks topic was read; drop certified blocks below ``keep_from``."""

    def signed_above(self, height: int) -> list[SignedBlock]:
        """Return the next signing records above a height, in order; none where there are no more."""

    def votes_next(self) -> int:
        """Return the offset in the votes topic below which all is about certified blocks; 0 at first."""

    def mark_votes_read(self, votes_next: int) -> None:
        """Store that everything below an offset of the votes topic is about certified blocks."""

    def signed(self, height: int) -> SignedBlock | None:
        """Return the signing record of a height."""

    def record_signed(self, blocks: Sequence[SignedBlock]) -> None:
        """Store signing records before their signatures are released.

        Raises:
            IntegrityError: another block was signed at one of the heights.
        """

    def close(self) -> None:
        """Close the folder."""


class Ledger(Protocol):
    """The committed chain in Redis (Y.4907 clause 9): extended by one block or left alone."""

    async def head(self) -> LedgerHead | None:
        """Return the head, or None for an empty ledger."""

    async def extend(self, previous_hash: bytes, block: LedgerBlock) -> bool:
        """Extend the ledger by a certified block; False where the head is not its predecessor."""

    async def replace(self, seen: LedgerHead | None, blocks: Sequence[LedgerBlock], published: int) -> bool:
        """Make the last of verified, consecutive blocks the head, if the head still is ``seen``."""

    async def certified(self, height: int) -> bytes | None:
        """Return the certified block held for a height, unverified."""

    async def mark_published(self, height: int, keep_from: int) -> None:
        """Record that blocks up to ``height`` are published and verified; drop bodies below ``keep_from``."""

    async def acquire_lease(self, owner: str, ttl_ms: int) -> bool:
        """Take or renew the publishing lease."""

    async def release_lease(self, owner: str) -> None:
        """Give the lease back."""

    async def close(self) -> None:
        """Disconnect."""
