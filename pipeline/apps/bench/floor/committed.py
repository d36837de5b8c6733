"""Primitives of Redis: the scripts that commit a block and mark it published, with blocks as long as ours."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from secrets import token_bytes
from typing import Final

from pipeline.adapters.redis_ledger import RedisLedger
from pipeline.apps.bench.floor.floor import Cost
from pipeline.apps.bench.floor.servers import REDIS, FloorServers
from pipeline.apps.bench.floor.timing import Primitive
from pipeline.core.errors import IntegrityError
from pipeline.ports import LedgerBlock

_BLOCKS: Final = 24
_HEADER_BYTES: Final = 400


class Commits:
    """A ledger of a chain that nobody else knows; its blocks are dropped after each round."""

    def __init__(self, servers: FloorServers, block: bytes) -> None:
        self._servers, self._block = servers, block
        self._loop = asyncio.new_event_loop()
        self._ledger = RedisLedger(servers.redis, token_bytes(32))
        self._height, self._marked, self._hash = 0, 0, bytes(32)

    def commit(self) -> Cost:
        """Extend the ledger by a round of blocks."""
        return self._measured(self._extend)

    def mark(self) -> Cost:
        """Mark as many blocks as published, one by one, and drop their bodies."""
        while self._height - self._marked < _BLOCKS:
            self._loop.run_until_complete(self._extend())
        return self._measured(self._mark)

    def close(self) -> None:
        """Drop the bodies and disconnect; head and headers of the ended chain stay."""
        while self._marked < self._height:
            self._loop.run_until_complete(self._mark())
        self._loop.run_until_complete(self._ledger.close())
        self._loop.close()

    def _measured(self, step: Callable[[], Awaitable[None]]) -> Cost:
        meter = self._servers.cpu(REDIS)
        meter.reset()
        begun = time.thread_time_ns()
        for _ in range(_BLOCKS):
            self._loop.run_until_complete(step())
        own = time.thread_time_ns() - begun
        return Cost(own / _BLOCKS / 1e3, meter.spent_s() * 1e6 / _BLOCKS)

    async def _extend(self) -> None:
        height = self._height + 1
        own = sha256(self._hash).digest()
        block = LedgerBlock(height, own, bytes(_HEADER_BYTES), self._block)
        if not await self._ledger.extend(self._hash, block):
            raise IntegrityError("somebody else writes to the ledger that is measured")
        self._height, self._hash = height, own

    async def _mark(self) -> None:
        self._marked += 1
        await self._ledger.mark_published(self._marked, self._marked + 1)


@contextmanager
def floor_commits(servers: FloorServers, block: bytes) -> Iterator[tuple[Primitive, Primitive]]:
    """Give the two primitives on a ledger of their own."""
    commits = Commits(servers, block)
    try:
        yield Primitive("redis commit", commits.commit), Primitive("redis mark", commits.mark)
    finally:
        commits.close()
