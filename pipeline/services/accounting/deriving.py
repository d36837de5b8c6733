"""Derive: consume the chain log, close blocks, persist signing records, cosign. And let time pass."""

import asyncio
from collections import Counter
from functools import partial

from pipeline.core.admission import TICK_VALUE, Parsed, parse_value
from pipeline.core.derive import Derived, LogRecord
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet
from pipeline.core.state import START
from pipeline.ports import Outgoing, Received, SignedBlock
from pipeline.services.accounting.memory import NodeMemory
from pipeline.services.accounting.votes import Candidate, vote_message
from pipeline.telemetry import node_metrics as metrics

_FETCH_RECORDS = 2000
_FETCH_TIMEOUT_MS = 250
_MAX_AHEAD_BLOCKS = 64
_WAIT_S = 1.0
_TICK_LOOK_S = 0.05
_TICK_LATE_MS = 30
_TICK_STAGGER_MS = 200


class Deriving:
    """The deriving loop of one node."""

    def __init__(self, memory: NodeMemory) -> None:
        self._memory = memory
        self._broker_ms = 0
        self._read_at_s = 0.0

    async def run(self) -> None:
        """Derive and cosign for ever; pause while far ahead of the quorum."""
        memory = self._memory
        await memory.links.log.seek(memory.log_next)
        while True:
            records = await memory.retried("reading the chain log", self._fetch)
            closed = await self._feed(records)
            if closed:
                votes = self._sign(closed)
                await memory.retried("sending votes", partial(memory.links.vote_producer.send, votes))
                metrics.count_stage("cosigned", closed[-1].block.header.height)
            while memory.ballot.waiting >= _MAX_AHEAD_BLOCKS:
                await memory.bell.wait(_WAIT_S)

    async def _fetch(self) -> list[Received]:
        return await self._memory.links.log.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS)

    async def _feed(self, records: list[Received]) -> list[Derived]:
        deriver = self._memory.deriver
        parsed = [parse_value(record.value) for record in records]
        check = await self._memory.links.pool.check_parsed(deriver.state, parsed)
        closed: list[Derived] = []
        outcomes: Counter[Outcome] = Counter()
        for record, item in zip(records, parsed, strict=True):
            gap = self._gap(item)
            fed = deriver.feed(LogRecord(record.offset, record.time_ms, record.value), item, check)
            closed.extend(fed.closed)
            outcomes[fed.outcome] += 1
            if gap and fed.outcome is Outcome.ADMITTED:
                metrics.SEQUENCE_GAPS.inc(gap)
        for outcome, count in outcomes.items():
            metrics.OUTCOMES.labels(outcome.label).inc(count)
        if records:
            self._broker_ms, self._read_at_s = records[-1].time_ms, asyncio.get_running_loop().time()
        return closed

    def _gap(self, item: Parsed) -> int:
        """Return how many sequence numbers a packet leaves out, if it is admitted."""
        if not isinstance(item, Packet):
            return 0
        last = self._memory.deriver.state.tables.positions.get(item.site, START)
        return max(0, item.sequence - last.sequence - 1)

    async def measure_lag(self, every_s: float = 5.0) -> None:
        """Tell how many records of the chain log wait."""
        memory = self._memory
        while True:
            await asyncio.sleep(every_s)
            _, end = await memory.retried("measuring the lag", memory.links.log.bounds)
            # Until a reanchor is read, the log's own offsets may be lower.
            metrics.LOG_LAG.set(max(0, end - memory.deriver.next_offset))

    def _sign(self, closed: list[Derived]) -> list[Outgoing]:
        """Persist what is about to be signed, then let it be voted on; the order prevents a fork."""
        memory = self._memory
        votes = []
        fresh = []
        for derived in closed:
            height = derived.block.header.height
            held = memory.links.store.signed(height)
            if held is None or held.block_hash != derived.block.hash:
                held = self._signed(derived)
                fresh.append(held)
            votes.append(self._vote(held))
        memory.links.store.record_signed(fresh)
        for derived in closed:
            memory.unpublished[derived.block.header.height] = derived
            for node, outcome in memory.ballot.add_derived(derived):
                metrics.VOTES.labels(node, outcome.value).inc()
        metrics.count_stage("derived", closed[-1].block.header.height)
        memory.bell.ring()
        return votes

    def _signed(self, derived: Derived) -> SignedBlock:
        memory = self._memory
        now_s = memory.links.clock.now_ms() // 1000
        height, identity = derived.block.header.height, memory.identity
        candidate = Candidate(height, derived.block.hash, derived.checkpoint)
        message = vote_message(memory.genesis.chain, candidate, identity.name, identity.signers, now_s)
        return SignedBlock(height, derived.block.hash, message, derived.block.encoded)

    def _vote(self, signed: SignedBlock) -> Outgoing:
        memory = self._memory
        key = memory.identity.name.encode()
        return Outgoing(memory.topics.cosignatures, signed.message, key, memory.genesis.partition)

    async def repeat_votes(self, every_s: float = 3.0) -> None:
        """Send our votes again for blocks that stay uncertified; the topic may have lost them."""
        memory = self._memory
        waiting_before: set[int] = set()
        while True:
            await asyncio.sleep(every_s)
            waiting = {h for h in memory.ballot.heights if memory.ballot.certificate(h) is None}
            held = [memory.links.store.signed(height) for height in sorted(waiting & waiting_before)]
            votes = [self._vote(signed) for signed in held if signed is not None]
            if votes:
                await memory.retried("repeating votes", partial(memory.links.vote_producer.send, votes))
            waiting_before = waiting

    async def tick(self) -> None:
        """Send a tick when the open period is over and nothing else comes.

        Broker time is reckoned from the last record, so a wrong clock of this machine does no harm.
        """
        memory = self._memory
        while True:
            await asyncio.sleep(_TICK_LOOK_S)
            until = memory.deriver.open_until
            if until is None:
                continue
            turn = memory.identity.rank + memory.deriver.state.head.height
            late_ms = _TICK_LATE_MS + turn % len(memory.policy.node_names) * _TICK_STAGGER_MS
            passed_ms = (asyncio.get_running_loop().time() - self._read_at_s) * 1000
            if self._broker_ms + passed_ms >= until + late_ms:
                value = Outgoing(memory.genesis.topic, TICK_VALUE, None, memory.genesis.partition)
                await memory.retried("sending a tick", partial(memory.links.producer.send, [value]))
                await asyncio.sleep(_TICK_STAGGER_MS / 1000)
