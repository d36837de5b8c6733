"""Survey: everything about a block that can be checked without knowing the chain before it, away from the chain.

A block claims what it follows: the head before it and, by the first record of each site and authority, where these
stood. ``survey`` takes the claims for true and runs the same checks as ``extend``; ``join`` then holds them against
the chain itself. Both together accept exactly what ``extend`` accepts, and blocks can be surveyed side by side.
What does not join, ``extend`` has to judge; here is no reason for any refusal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.core.admission import continuation, is_signed
from pipeline.core.block import Block, Header
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.control import Control, SiteBody
from pipeline.core.merkle import HASH_BYTES, Frontier
from pipeline.core.names import SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet
from pipeline.core.quorum import CertificateProblem, check_certificate
from pipeline.core.replica import Admitted, admit_all, header_problem, parse_entry
from pipeline.core.state import START, ChainState, Changes, Head, Position, Tables


class Start(NamedTuple):
    """The first record of a site or an authority in a block: what it says of the one before, and what it is."""

    table: str
    key: SiteName | bytes
    sequence: int
    previous: bytes
    own_id: bytes


@dataclass(frozen=True, slots=True)
class Survey:
    """A block that is good if it follows what it claims to follow; compact, for handing between processes.

    ``leaves`` are its leaf hashes one after the other, ``certified`` the tree that its own certificate states, None
    where a later checkpoint has to vouch for it; ``sites`` are those whose rights it depends on.
    """

    header: Header
    block_hash: bytes
    length: int
    leaves: bytes
    certified: Checkpoint | None
    starts: tuple[Start, ...]
    sites: frozenset[SiteName]
    written: Tables
    packets: int
    controls: int

    @property
    def leaf_hashes(self) -> list[bytes]:
        """The hashes of the block's leaves: its entries, then its header."""
        data = self.leaves
        return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def survey(state: ChainState, block: Block, certificate: bytes | None) -> Survey | None:
    """Check a block by rights and rules of ``state``, whose head and positions do not count and which stays as it is.

    None where ``extend`` has to judge: the block is bad, or says more than what a site or about a site. Total.
    """
    certified = (
        None if certificate is None else check_certificate(certificate, state.genesis.origin, state.policy)
    )
    if isinstance(certified, CertificateProblem):
        return None
    found = list(_site_records(block))
    if len(found) < len(block.entries):
        return None
    starts = _starts(found)
    before = state.head
    state.head = claimed_head(block.header)
    for start in starts:
        state.put(start.table, start.key, Position(start.sequence - 1, start.previous))
    try:
        if header_problem(state, block) is not None:
            return None
        if not isinstance(admit_all(state, block, found, is_signed), tuple):
            return None
        written = state.changed()
    finally:
        state.undo()
        state.head = before
    packets = sum(isinstance(item, Packet) for item in found)
    return Survey(
        block.header,
        block.hash,
        len(block.encoded),
        b"".join(block.leaf_hashes),
        None if certified is None else certified.checkpoint,
        tuple(starts),
        frozenset(_site(item) for item in found),
        written,
        packets,
        len(found) - packets,
    )


def join(state: ChainState, found: Survey) -> Changes | None:
    """Extend ``state`` by a surveyed block, or return None and leave it as it is.

    The caller answers for the survey having been made by the rights of its sites, the registrars and the terms as they
    are in ``state``.
    """
    head, header = state.head, found.header
    if not _follows(state, header):
        return None
    jump = state.contract.max_sequence_jump
    for table, key, sequence, previous, own_id in found.starts:
        last = getattr(state.tables, table).get(key, START)
        if continuation(last, sequence, previous, own_id, jump) is not Outcome.ADMITTED:
            return None
    frontier = head.frontier.extend(found.leaf_hashes)
    tree = found.certified
    if tree is not None and (tree.size, tree.root) != (frontier.size, frontier.root()):
        return None
    source, total = header.source, head.chain_bytes + found.length
    after = Head(
        header.height,
        found.block_hash,
        frontier,
        source.incarnation,
        source.next,
        header.period_start,
        header.part,
        total,
    )
    changes = Changes(found.written, after)
    state.adopt(changes)
    return changes


def claimed_head(header: Header) -> Head:
    """Return the head that a block claims to follow; of the tree before it a header knows the size alone."""
    size, source = header.first_index, header.source
    unknown = Frontier(size, (bytes(HASH_BYTES),) * size.bit_count())
    period, part = (header.period_start, header.part - 1) if header.part else (-1, 0)
    return Head(
        header.height - 1, header.previous_hash, unknown, source.incarnation, source.first, period, part, 0
    )


def _follows(state: ChainState, header: Header) -> bool:
    """Say whether the claims of a header, by which it was surveyed, are those of the chain."""
    head, source = state.head, header.source
    part = head.part + 1 if head.period_start == header.period_start else 0
    return (
        (header.height, header.previous_hash, header.first_index, header.part)
        == (head.height + 1, head.block_hash, head.frontier.size, part)
        and (source.incarnation, source.first) == (head.incarnation, head.next_offset)
        and (header.rules_version, header.contract_hash) == (state.rules_version, state.contract.hash)
    )


def _site_records(block: Block) -> Iterator[Admitted]:
    """Yield the entries that are records of sites or about sites, up to the first that is not."""
    for entry in block.entries:
        parsed = parse_entry(entry)
        if isinstance(parsed, Outcome) or (
            isinstance(parsed, Control) and not isinstance(parsed.body, SiteBody)
        ):
            return
        yield parsed


def _site(item: Admitted) -> SiteName:
    if isinstance(item, Packet):
        return item.site
    assert isinstance(item.body, SiteBody)  # noqa: S101  others are no site records
    return item.body.site


def _starts(found: Iterable[Admitted]) -> list[Start]:
    starts: dict[tuple[str, SiteName | bytes], Start] = {}
    for item in found:
        if isinstance(item, Packet):
            key = ("positions", item.site)
            if key not in starts:
                starts[key] = Start(*key, item.sequence, item.previous, item.packet_id)
        elif ("issuers", item.issuer) not in starts:
            start = Start("issuers", item.issuer, item.sequence, item.previous, item.control_id)
            starts[("issuers", item.issuer)] = start
    return list(starts.values())
