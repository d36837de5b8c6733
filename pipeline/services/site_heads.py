"""Ledger view: what the API can prove, kept per site and per block. Plain values never get here.

Owns what is asked of the view and the documents made of it; where it keeps rows and hashes is its own affair.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pipeline.core.block import Kind
from pipeline.core.followed import Applied, BlockInfo, EntryInfo, SiteInfo
from pipeline.core.names import SiteName
from pipeline.core.packet import FIRST_PREVIOUS
from pipeline.core.proven import Proven
from pipeline.core.site_head import SiteHeadDocument
from pipeline.core.state import ChainState


class Snapshot(Protocol):
    """One consistent look at the view."""

    def last_block(self) -> BlockInfo | None:
        """Return the last block, or None before the first."""

    def block(self, height: int) -> BlockInfo | None:
        """Return a block, or None for a height that is not there."""

    def site(self, name: SiteName) -> SiteInfo | None:
        """Return a site that was ever enrolled, or None."""

    def authorities(self) -> Sequence[EntryInfo]:
        """Return the newest changes of registrars, nodes and contract, oldest first."""

    def path(self, index: int) -> list[bytes]:
        """Return the inclusion path of a leaf in the tree after the last block."""


class LedgerView(Protocol):
    """The API's database, a ``BlockSink``. Reading is safe from any thread, while blocks are stored, too."""

    def load(self) -> tuple[ChainState, int]:
        """Return state and next offset of the blocks topic; genesis and 0 at first."""

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Store blocks and the position, all or nothing."""

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Give one consistent look at the last block and everything before it."""

    def close(self) -> None:
        """Close the files."""


def site_head(chain: bytes, view: Snapshot, name: SiteName, since: int = 0) -> SiteHeadDocument | None:
    """Return the head document of a site, without packet bytes, or None where the ledger has not enrolled it.

    ``since`` leaves out the registrar's records about it below that leaf, which the site has.
    """
    site, last = view.site(name), view.last_block()
    if site is None or last is None:
        return None
    head = site.packet if site.packet is not None else site.enrolment
    block = view.block(head.height)
    if block is None:
        return None
    kind = Kind.PACKET if site.packet is not None else Kind.CONTROL
    return SiteHeadDocument(
        chain=chain,
        site=name,
        active=site.active,
        sequence=site.sequence,
        packet_id=site.packet_id if site.packet is not None else FIRST_PREVIOUS,
        height=head.height,
        entry=head.entry,
        head=proven(view, kind, head),
        header=block.header,
        header_path=tuple(view.path(block.header_index)),
        key_offers=_records(view, site.key_offers, since),
        tree_size=last.tree_size,
        certificate=last.certificate,
        records=_records(view, site.records, since),
        authorities=_records(view, view.authorities(), 0),
    )


def _records(view: Snapshot, items: Sequence[EntryInfo], since: int) -> tuple[Proven, ...]:
    return tuple(proven(view, Kind.CONTROL, item) for item in items if item.leaf_index >= since)


def proven(view: Snapshot, kind: Kind, entry: EntryInfo) -> Proven:
    """Return an entry with its inclusion path."""
    path = tuple(view.path(entry.leaf_index))
    return Proven(kind, entry.payload, entry.leaf_index, entry.log_offset, entry.time_ms, path)
