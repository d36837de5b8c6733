"""What the site agent needs from outside: a source, a spool, the head. Adapters and connectors fit by shape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.core.batching import Terms
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
from pipeline.core.genesis import Genesis
from pipeline.core.names import SiteName
from pipeline.core.record import UnifiedRecord
from pipeline.core.signing import Signer
from pipeline.ports import Clock, Producer

if TYPE_CHECKING:
    from pipeline.services.site_agent.standing import SiteStanding


class SourceRecord(Protocol):
    """A normalised record that does not know its site."""

    def at(self, site: SiteName) -> UnifiedRecord:
        """Return the Table 10-1 record of this data at ``site``."""


class RefusedField(Protocol):
    """A field or row that did not become data; holds no plain value."""

    @property
    def row(self) -> int:
        """Where it was in the source, for people."""

    @property
    def field(self) -> str:
        """Its column; empty for the whole row."""

    @property
    def reason(self) -> str:
        """Stable reason, used as metric label."""


class SourceBatch(Protocol):
    """What one reading gave; ``next_position`` belongs to exactly these records."""

    @property
    def records(self) -> Sequence[SourceRecord]:
        """The normalised records, in order."""

    @property
    def rejected(self) -> Sequence[RefusedField]:
        """What was refused."""

    @property
    def next_position(self) -> str:
        """Where to go on."""

    @property
    def at_end(self) -> bool:
        """Whether nothing more was there."""


class Source(Protocol):
    """Somewhere indicators are read from, forwards only, restartable exactly."""

    def read(self, position: str, limit: int, *, final: bool = False) -> SourceBatch:
        """Read at most ``limit`` rows after ``position``, empty at first.

        Raises:
            ConfigError: the data do not fit the position or the settings.
            TransientError: the data can't be reached right now.
        """


class Spool(Protocol):
    """The durable store of one site. Every change is one transaction, on disk when the call returns.

    All raise ``TransientError`` where the disk fails, with nothing changed.
    """

    def append(
        self, records: Sequence[NewRecord], position: str, rejected: Mapping[str, int], now_ms: int
    ) -> None:
        """Keep records, the source's position after them, and refused fields by reason."""

    def position(self) -> str:
        """Return the source's position after what is kept."""

    def totals(self) -> Totals:
        """Return what went through this spool."""

    def depth(self) -> Depth:
        """Return how much is not yet confirmed."""

    def tip(self) -> Tip:
        """Return where the next packet goes on."""

    def backlog(self, limit: int) -> Backlog:
        """Return how many records are in no packet, and size and age of the first ``limit``."""

    def waiting(self, limit: int) -> list[SpooledRecord]:
        """Return the first records that are in no packet."""

    def add_packet(self, packet: StoredPacket) -> None:
        """Keep a sealed packet that goes on from the tip, before it is sent."""

    def live_packets(self, after: int, limit: int) -> list[StoredPacket]:
        """Return packets to be sent with sequence above ``after``, in order."""

    def made(self) -> list[Made]:
        """Return all packets that are not confirmed, in order."""

    def packet(self, packet_id: bytes) -> bytes | None:
        """Return the bytes of a stored packet, the last confirmed one included."""

    def receipt(self) -> StoredReceipt | None:
        """Return the last verified head."""

    def confirm(self, receipt: StoredReceipt, verdict: Confirms) -> None:
        """Forget what is committed and keep the receipt."""

    def supersede(self) -> int:
        """Take the records of all unconfirmed packets for sealing anew; return how many packets."""

    def adopt(self, receipt: StoredReceipt) -> None:
        """Go on from a head that this spool did not make."""

    def standing(self) -> list[tuple[int, bytes]]:
        """Return the registrar's records about the site that are kept: leaf index and encoded record."""

    def keep_standing(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Keep these records about the site, in place of those kept before."""


class HeadSource(Protocol):
    """Where the site asks for its head."""

    async def head(self, site: SiteName, *, with_packet: bool = False, since: int = 0) -> bytes:
        """Return the site head document as served, unverified; on demand with the packet's bytes in it.

        ``since`` leaves out the registrar's records below that leaf.

        Raises:
            TransientError: nobody answers, or not with a head.
        """


class Log(Protocol):
    """A structured log that knows which site it is of."""

    def info(self, event: str, **fields: Any) -> Any:
        """Say something normal."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Say something that somebody may have to look at."""


@dataclass(frozen=True, slots=True)
class SiteParts:
    """All that an agent works with. ``random`` gives that many fresh random bytes; ``topic`` takes packets.

    ``terms`` and ``signer`` are those of the registrar's answer, ``standing`` follows the ledger from there. Agents of
    one process may share ``producer`` and ``heads``; each needs its own spool.
    """

    genesis: Genesis
    terms: Terms
    signer: Signer
    standing: "SiteStanding"
    source: Source
    spool: Spool
    producer: Producer
    heads: HeadSource
    clock: Clock
    log: Log
    random: Callable[[int], bytes]
    topic: str

    @property
    def label(self) -> str:
        """The site as metrics and logs name it."""
        return str(self.terms.site)
