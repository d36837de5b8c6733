"""Delivery from a site to the ledger: what the site decides between collecting and forgetting.

Owns the words for what is stored, what a verified head means for it, and when to send again.
Storing, sending and asking are the agent's; how full a packet gets is ``batching``'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.core.packet import FIRST_PREVIOUS

_MAX_DOUBLINGS = 16


class NewRecord(NamedTuple):
    """A record to be spooled: its collecting time (GMT ms) and its encoded unified KPI record."""

    time_ms: int
    data: bytes

    def __repr__(self) -> str:
        """Show no plain value."""
        return f"NewRecord(time_ms={self.time_ms})"


class SpooledRecord(NamedTuple):
    """A record from the spool; ``record_id`` rises by one from record to record, from 1."""

    record_id: int
    time_ms: int
    spooled_ms: int
    data: bytes

    def __repr__(self) -> str:
        """Show no plain value."""
        return f"SpooledRecord(record_id={self.record_id}, time_ms={self.time_ms})"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Records that are in no packet yet: how many, bytes and first spooling time (ms) of the next few."""

    count: int
    next_bytes: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class Tip:
    """Where the next packet goes on: highest sequence ever used, packet to link to, last record inside it."""

    sequence: int = 0
    previous: bytes = FIRST_PREVIOUS
    last_record: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A packet that this site made: what it links to and which records it holds.

    ``live`` is False for a packet whose records were sealed again under a later sequence; it may
    still arrive. ``oldest_ms`` is the spooling time of its first record.
    """

    sequence: int
    packet_id: bytes
    previous: bytes
    first_record: int
    last_record: int
    oldest_ms: int
    live: bool = True


@dataclass(frozen=True, slots=True)
class StoredPacket:
    """A made packet with its bytes, which are sent unchanged ever after."""

    made: Made
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """What a verified head says of a site: its last committed packet, and the certified tree that holds it.

    ``sequence`` is 0 and ``packet_id`` zero while the ledger holds no packet of the site.
    """

    sequence: int
    packet_id: bytes
    height: int
    tree_size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """The last verified head with all that is needed to show it again.

    ``document`` is the head as received, ``packet`` the site's own packet that it speaks of.
    """

    head: VerifiedHead
    last_record: int
    verified_ms: int
    packet: bytes = field(repr=False)
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Depth:
    """What is not yet confirmed: records, live packets, bytes of the spool in use, first spooling time (ms)."""

    records: int
    packets: int
    used_bytes: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What went through a spool since it was made; ``rejected`` counts refused fields by reason."""

    spooled_records: int
    confirmed_records: int
    confirmed_packets: int
    rejected: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The head is the one already known."""


@dataclass(frozen=True, slots=True)
class Behind:
    """The head is of an older tree than one already verified: whoever answered lags."""


@dataclass(frozen=True, slots=True)
class Confirms:
    """Stored packets are committed: ``committed`` in order; records up to the last one's last may go.

    ``dropped`` are the identifiers of all stored packets that are committed or can't be admitted any more.
    ``relinks`` says that live packets are among the latter: their records have to be sealed again.
    """

    committed: tuple[Made, ...]
    dropped: tuple[bytes, ...]
    relinks: bool

    @property
    def last(self) -> Made:
        """The packet that the head names."""
        return self.committed[-1]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Verified data contradict what this site made or verified before; ``code`` is stable."""

    code: str
    detail: str


Verdict = Unchanged | Behind | Confirms | Contradiction


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the head to follow what was sent, ms; doubled for each fruitless resend up to a cap.

    Raises:
        ValueError: the times are not positive and in order.
    """

    resend_after_ms: int = 60_000
    longest_ms: int = 900_000

    def __post_init__(self) -> None:
        if not 0 < self.resend_after_ms <= self.longest_ms:
            raise ValueError("resend_after_ms must be positive and not above longest_ms")

    def wait_ms(self, resends: int) -> int:
        """Return how long to wait before resend number ``resends`` + 1 in a row, milliseconds."""
        return min(self.longest_ms, self.resend_after_ms << min(resends, _MAX_DOUBLINGS))


def after_head(receipt: StoredReceipt | None, made: Sequence[Made], head: VerifiedHead) -> Verdict:
    """Decide what a verified head means; ``made`` are the stored packets, none of them confirmed yet."""
    if receipt is not None:
        known = _against(receipt.head, head)
        if known is not None:
            return known
    elif head.sequence == 0:
        return Unchanged()
    found = next((packet for packet in made if packet.packet_id == head.packet_id), None)
    if found is None or found.sequence != head.sequence:
        return Contradiction(
            "unknown_packet",
            f"the ledger holds a packet {head.sequence} of this site that this spool never made",
        )
    kept = _descendants(found, made)
    dropped = tuple(packet.packet_id for packet in made if packet.packet_id not in kept)
    relinks = any(p.live and p.sequence > found.sequence and p.packet_id not in kept for p in made)
    return Confirms(_path_to(found, made), dropped, relinks)


def _against(known: VerifiedHead, head: VerifiedHead) -> Verdict | None:
    """Compare a head with the one verified before; None where it goes beyond it."""
    if head.tree_size < known.tree_size and head.sequence <= known.sequence:
        return Behind()
    if head.tree_size == known.tree_size and head.root != known.root:
        return Contradiction("forked_tree", f"two certified trees of {head.tree_size} leaves differ")
    if head.sequence == known.sequence and head.packet_id == known.packet_id:
        return Unchanged()
    if head.sequence <= known.sequence or head.tree_size < known.tree_size:
        return Contradiction(
            "rolled_back",
            f"packet {known.sequence} of this site was verified as committed in a tree of "
            f"{known.tree_size} leaves, but a tree of {head.tree_size} leaves ends with packet {head.sequence}",
        )
    return None


def _descendants(found: Made, made: Sequence[Made]) -> set[bytes]:
    """Return the packets that can still be admitted after ``found``: those that link back to it."""
    reachable = {found.packet_id}
    kept: set[bytes] = set()
    for packet in sorted(made, key=lambda item: item.sequence):
        if packet.sequence > found.sequence and packet.previous in reachable:
            reachable.add(packet.packet_id)
            kept.add(packet.packet_id)
    return kept


def _path_to(found: Made, made: Sequence[Made]) -> tuple[Made, ...]:
    """Return the stored packets that ``found`` links back to, then itself: they are committed with it."""
    by_id = {packet.packet_id: packet for packet in made}
    path = [found]
    while (before := by_id.get(path[-1].previous)) is not None:
        path.append(before)
    return tuple(reversed(path))
