"""Commit: extend the ledger by a certified block, and repair a ledger that does not fit.

The certificate is the truth. What Redis holds is compared with it; a ledger that is empty,
behind, or holds what no quorum certified is repaired with an alarm. Only two valid
certificates at one height halt the node.
"""

from enum import StrEnum

from pipeline.core.block import Block, Header, parse_certified, parse_header
from pipeline.core.errors import IntegrityError
from pipeline.core.merkle import Frontier
from pipeline.core.quorum import Certified, PolicyAt, check_stated
from pipeline.ports import Ledger, LedgerBlock, LedgerHead, NodeStore

_ATTEMPTS = 8


class Repair(StrEnum):
    """Why the ledger had to be repaired; the metric label."""

    EMPTY = "empty"
    BEHIND = "behind"
    UNCERTIFIED = "uncertified"


class Committer:
    """Commits blocks in order for one node; ``repairs`` collects what it had to mend."""

    def __init__(self, origin: str, policy_at: PolicyAt, ledger: Ledger, store: NodeStore) -> None:
        self._origin, self._policy_at = origin, policy_at
        self._ledger = ledger
        self._store = store
        self.repairs: list[Repair] = []

    async def commit(self, before: Frontier, block: LedgerBlock, published: int) -> LedgerBlock:
        """Make the ledger hold ``block``, whose tree grows from ``before``; return it as committed first.

        Raises:
            IntegrityError: the ledger holds another certified block at this height.
            TransientError: Redis is not there.
        """
        header = _header(block)
        for _ in range(_ATTEMPTS):
            if await self._ledger.extend(header.previous_hash, block):
                return block
            head = await self._ledger.head()
            if head is not None and head.height >= block.height:
                held = await self._held(head, before, block)
                if held is not None:
                    return held
            await self._repair(head, block, published)
        raise IntegrityError(
            f"the ledger changes under every attempt to commit block {block.height}; "
            "something else writes to it: check Redis users",
            code="ledger_contended",
        )

    async def check_head(self, before: Frontier, last: LedgerBlock, published: int) -> None:
        """Compare an idle ledger with the last block we hold, and repair it where it does not fit."""
        head = await self._ledger.head()
        fits = head is not None and head.height >= last.height
        if head is None or not fits or await self._held(head, before, last) is None:
            await self._repair(head, last, published)
        elif head.published < published:
            # Whoever published it died or was refused before it could say so.
            await self._ledger.mark_published(published, 0)

    async def _held(self, head: LedgerHead, before: Frontier, block: LedgerBlock) -> LedgerBlock | None:
        """Return our block as the ledger holds it, or None where the ledger holds nothing certified."""
        if head.height > block.height and not await self._is_ahead(head, block):
            return None
        body = await self._ledger.certified(block.height)
        if body is None:
            same = head.height > block.height or head.block_hash == block.block_hash
            return block if same else None
        if body == block.certified:
            return block
        parsed = parse_certified(body)
        if parsed is None or not self._certifies(before, *parsed):
            return None
        if parsed[0].hash == block.block_hash:
            return LedgerBlock(block.height, block.block_hash, block.header, body)
        raise IntegrityError(
            f"two valid certificates at height {block.height}: the ledger's and ours; "
            "stop all nodes and compare them with 'bkdms verify'",
            code="fork",
        )

    async def _is_ahead(self, head: LedgerHead, block: LedgerBlock) -> bool:
        """Tell whether a quorum certified a tree that is larger than ours, under the ledger's head."""
        body = await self._ledger.certified(head.height)
        parsed = parse_certified(body) if body is not None else None
        if parsed is None:
            return False
        header, certified = parsed[0].header, self._certificate(parsed[1])
        return (
            certified is not None
            and (header.height, parsed[0].hash) == (head.height, head.block_hash)
            and certified.checkpoint.size == header.tree_size
            and header.tree_size > _header(block).tree_size
        )

    def _certificate(self, certificate: bytes) -> Certified | None:
        checked = check_stated(certificate, self._origin, self._policy_at)
        return checked if isinstance(checked, Certified) else None

    def _certifies(self, before: Frontier, block: Block, certificate: bytes) -> bool:
        """Tell whether a certificate is good for the tree that ``before`` grows to by this very block."""
        certified = self._certificate(certificate)
        if certified is None:
            return False
        after = before.extend(block.leaf_hashes)
        return (certified.checkpoint.size, certified.checkpoint.root) == (after.size, after.root())

    async def _repair(self, seen: LedgerHead | None, block: LedgerBlock, published: int) -> None:
        below = max(0, min(published, block.height) - 1)
        blocks = [held for held in self._store.held_blocks(below) if held.height < block.height]
        if await self._ledger.replace(seen, [*blocks, block], min(published, block.height)):
            self.repairs.append(_reason(seen, block))


def _reason(seen: LedgerHead | None, block: LedgerBlock) -> Repair:
    if seen is None:
        return Repair.EMPTY
    return Repair.BEHIND if 0 < seen.height < block.height else Repair.UNCERTIFIED


def _header(block: LedgerBlock) -> Header:
    parsed = parse_header(block.header)
    if parsed is None:
        raise IntegrityError(
            "own folder: undecodable header; run 'bkdms ledger rebuild node'", code="node_folder"
        )
    return parsed
