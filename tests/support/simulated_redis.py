"""The ledger's keys in memory and the ``Ledger`` port over them, with the rules of the scripts in Redis.

``tests/integration/test_ledger_conformance.py`` holds it against a real Redis.
"""

import asyncio
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.ports import LedgerBlock, LedgerHead
from tests.support.write_faults import Process

_T = TypeVar("_T")
_LATENCY_S = 0.001
_TRIM_AT_ONCE = 64


@dataclass
class LedgerKeys:
    """What Redis holds of one chain."""

    head: LedgerHead | None = None
    bodies: dict[int, bytes] = field(default_factory=dict)
    lease: tuple[str, float] | None = None

    def copy(self) -> "LedgerKeys":
        """Return a copy, as a backup would be."""
        return deepcopy(self)

    def put(self, other: "LedgerKeys") -> None:
        """Restore a backup; leases are not in it."""
        self.head, self.bodies = other.head, dict(other.bodies)


class SimulatedLedger:
    """``Ledger`` of one process over keys that all share."""

    def __init__(self, keys: LedgerKeys, process: Process, time_s: Callable[[], float]) -> None:
        self._keys, self._process, self._time_s = keys, process, time_s

    async def head(self) -> LedgerHead | None:
        """Return the head, or None for an empty ledger."""
        return await self._read(lambda: self._keys.head)

    async def certified(self, height: int) -> bytes | None:
        """Return the certified block held for a height, unverified."""
        return await self._read(lambda: self._keys.bodies.get(height))

    async def extend(self, previous_hash: bytes, block: LedgerBlock) -> bool:
        """Extend the ledger by a certified block; False where the head is not its predecessor."""

        def act() -> bool:
            keys, head = self._keys, self._keys.head
            fits = block.height == 1
            if head is not None:
                fits = (head.height + 1, head.block_hash) == (block.height, previous_hash)
            if fits:
                keys.bodies[block.height] = block.certified
                keys.head = LedgerHead(block.height, block.block_hash, head.published if head else 0)
            return fits

        return await self._write(act)

    async def replace(self, seen: LedgerHead | None, blocks: Sequence[LedgerBlock], published: int) -> bool:
        """Make the last of verified, consecutive blocks the head, if the head still is ``seen``."""

        def act() -> bool:
            keys, held = self._keys, self._keys.head
            if (held and (held.height, held.block_hash)) != (seen and (seen.height, seen.block_hash)):
                return False
            keys.bodies = {block.height: block.certified for block in blocks}
            keys.head = LedgerHead(blocks[-1].height, blocks[-1].block_hash, published)
            return True

        return await self._write(act)

    async def mark_published(self, height: int, keep_from: int) -> None:
        """Record that blocks up to ``height`` are published and verified; drop bodies below ``keep_from``."""

        def act() -> None:
            keys = self._keys
            if keys.head is not None and keys.head.published < height:
                keys.head = LedgerHead(keys.head.height, keys.head.block_hash, height)
            for gone in range(max(1, keep_from - _TRIM_AT_ONCE), keep_from):
                keys.bodies.pop(gone, None)

        await self._write(act)

    async def acquire_lease(self, owner: str, ttl_ms: int) -> bool:
        """Take or renew the publishing lease."""

        def act() -> bool:
            held = self._keys.lease
            if held is not None and held[0] != owner and held[1] > self._time_s():
                return False
            self._keys.lease = (owner, self._time_s() + ttl_ms / 1000)
            return True

        return await self._read(act)

    async def release_lease(self, owner: str) -> None:
        """Give the lease back."""

        def act() -> None:
            if self._keys.lease is not None and self._keys.lease[0] == owner:
                self._keys.lease = None

        await self._read(act)

    async def close(self) -> None:
        """Disconnect."""

    async def _read(self, act: Callable[[], _T]) -> _T:
        await asyncio.sleep(_LATENCY_S)
        self._process.check()
        return act()

    async def _write(self, act: Callable[[], _T]) -> _T:
        await asyncio.sleep(_LATENCY_S)
        self._process.check()
        result = self._process.write(act)
        await asyncio.sleep(_LATENCY_S)
        self._process.check(remote=False)
        return result
