"""Publish committed blocks under a lease, read them back, trim what they replace.

The lease is for thrift only: publishing twice is harmless, and heights have no gaps,
because every publisher starts after the last height that was read back.
"""

import asyncio

import structlog

from pipeline.core.block import certified_body, parse_certified
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.ports import LedgerBlock, Received
from pipeline.services.accounting.memory import NodeMemory
from pipeline.services.accounting.publication import publication
from pipeline.services.accounting.startup import KEPT_BLOCKS, holds_same
from pipeline.telemetry import node_metrics as metrics

_log = structlog.get_logger(__name__)
_FETCH_BLOCKS = 16
_FETCH_TIMEOUT_MS = 500
_LEASE_MS = 5_000
_LEASE_LOOK_S = 1.0
_WAIT_S = 1.0
_READ_BACK_S = 10.0
_TRIM_EVERY = 16
_MARGIN_BLOCKS = 4


class Publishing:
    """The publishing and read-back loops of one node."""

    def __init__(self, memory: NodeMemory) -> None:
        self._memory = memory

    async def follow(self) -> None:
        """Read the blocks topic back and compare it with what was committed, for ever."""
        memory = self._memory
        await memory.links.blocks.seek(memory.blocks_next)
        while True:
            records = await memory.retried(
                "reading blocks", lambda: memory.links.blocks.fetch(_FETCH_BLOCKS, _FETCH_TIMEOUT_MS)
            )
            for record in records:
                await self._read_back(record)

    async def _read_back(self, record: Received) -> None:
        memory = self._memory
        body = certified_body(record.value)
        memory.blocks_next = record.offset + 1
        if self._is_next(body):
            self._published(memory.published + 1)
            return
        parsed = parse_certified(body)
        if parsed is None or parsed[0].header.chain != memory.genesis.chain:
            self._forged(record, "not a block of this chain")
            return
        block, certificate = parsed
        certified = memory.forks.check(certificate)
        if certified is None or certified.checkpoint.size != block.header.tree_size:
            self._forged(record, "no valid certificate")
            return
        height = block.header.height
        # The quorum vouches for the tree, not for a height that somebody wrote beside its certificate.
        while height > memory.height and block.header.tree_size > memory.tree_size:
            await memory.bell.wait(_WAIT_S)
        held = memory.links.store.held_block(height)
        if height > memory.height or (held is not None and not holds_same(held, block)):
            self._forged(record, "another block than the one of its certificate")
            return
        if height == memory.published + 1:
            self._published(height)

    def _is_next(self, body: bytes) -> bool:
        """Tell whether a block is, byte for byte, the next to be read back, as this node committed and verified it."""
        memory = self._memory
        height = memory.published + 1
        held = memory.held_block(height) if height <= memory.height else None
        return held is not None and held.certified == body

    def _published(self, height: int) -> None:
        memory = self._memory
        memory.published = height
        memory.unpublished.pop(height, None)
        memory.recent.pop(height, None)
        memory.links.store.mark_published(height, memory.blocks_next, height - KEPT_BLOCKS)
        metrics.count_stage("published", height)
        memory.bell.ring()

    def _forged(self, record: Received, why: str) -> None:
        metrics.FORGED.inc()
        _log.error("forged_block_on_topic", offset=record.offset, why=why)

    async def publish(self) -> None:
        """Publish while this node holds the lease, for ever."""
        memory, failures = self._memory, 0
        while True:
            try:
                holds = await memory.links.ledger.acquire_lease(memory.identity.name, _LEASE_MS)
                metrics.LEASE.set(holds)
                if not holds:
                    await asyncio.sleep(_LEASE_LOOK_S)
                elif memory.published < memory.height:
                    await self._publish_next()
                else:
                    await memory.bell.wait(_WAIT_S)
                failures = 0
            except TransientError as error:
                failures += 1
                if failures == 1:
                    _log.warning("retrying", doing="publishing", code=error.code, error=str(error))
                metrics.RETRIES.labels(error.code).inc()
                await asyncio.sleep(_LEASE_LOOK_S)

    async def _publish_next(self) -> None:
        memory = self._memory
        height = memory.published + 1
        block = memory.held_block(height)
        if block is None:
            raise IntegrityError(
                f"block {height} is committed but this node does not hold it; run 'bkdms ledger rebuild node'",
                code="node_folder",
            )
        await self._publish(block)

    async def _publish(self, block: LedgerBlock) -> None:
        memory = self._memory
        derived = memory.unpublished.get(block.height)
        if derived is not None and derived.block.hash != block.block_hash:
            derived = None
        sent = publication(memory.genesis, memory.topics, block, derived)
        await memory.links.producer.send(sent)
        deadline = asyncio.get_running_loop().time() + _READ_BACK_S
        while memory.published < block.height:
            if asyncio.get_running_loop().time() > deadline:
                raise TransientError(f"block {block.height} was sent but not read back", code="read_back")
            await memory.links.ledger.acquire_lease(memory.identity.name, _LEASE_MS)
            await memory.bell.wait(_WAIT_S)
        await memory.links.ledger.mark_published(block.height, block.height - KEPT_BLOCKS)
        if block.height % _TRIM_EVERY == 0:
            await self._trim(block.height)

    async def _trim(self, height: int) -> None:
        """Delete the chain log before the last few published blocks; a start reads the last one again."""
        memory = self._memory
        below = height - _MARGIN_BLOCKS
        held = memory.links.store.held_block(below)
        parsed = parse_certified(held.certified) if held is not None else None
        head = memory.committed.changes.head if memory.committed is not None else None
        # Offsets of another copy of the log say nothing about this one.
        if (
            parsed is not None
            and head is not None
            and parsed[0].header.source.incarnation == head.incarnation
        ):
            source = parsed[0].header.source
            await memory.links.trimmer.trim(source.topic, source.partition, source.first)
