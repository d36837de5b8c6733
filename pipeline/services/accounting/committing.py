"""Count votes until a block has its certificate, then commit it; in order of heights."""

import asyncio
from functools import partial

import structlog

from pipeline.core.block import Block, Kind, encode_certified, parse_certified
from pipeline.core.derive import Derived
from pipeline.core.packet import packet_id
from pipeline.core.quorum import Certified, check_certificate
from pipeline.ports import LedgerBlock
from pipeline.services.accounting.memory import Committed, NodeMemory
from pipeline.services.accounting.shown import show_policy
from pipeline.services.accounting.startup import ledger_block
from pipeline.services.accounting.votes import VoteOutcome, parse_vote
from pipeline.telemetry import node_metrics as metrics
from pipeline.telemetry import spans

_log = structlog.get_logger(__name__)
_FETCH_RECORDS = 1000
_FETCH_TIMEOUT_MS = 250
_MARK_EVERY = 500
_WAIT_S = 1.0
_STAGGER_S = 0.02
_CHECK_IDLE_S = 2.0


class Committing:
    """The voting and committing loops of one node."""

    def __init__(self, memory: NodeMemory) -> None:
        self._memory = memory
        self._early = 0

    async def count_votes(self) -> None:
        """Gather the cosignatures of all nodes, for ever."""
        memory = self._memory
        first, end = await memory.retried("finding the votes", memory.links.votes.bounds)
        marked = memory.links.store.votes_next()
        marked = marked if first <= marked <= end else first
        await memory.links.votes.seek(marked)
        while True:
            records = await memory.retried(
                "reading votes", lambda: memory.links.votes.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS)
            )
            for record in records:
                self._count(record.value)
            # What was read is about certified blocks where none waits: no start needs it again.
            is_idle = not memory.ballot.waiting and self._early <= memory.height
            if records and is_idle and records[-1].offset - marked >= _MARK_EVERY:
                marked = records[-1].offset + 1
                memory.links.store.mark_votes_read(marked)

    def _count(self, value: bytes | None) -> None:
        memory = self._memory
        vote = parse_vote(memory.genesis.chain, value)
        known = vote is not None and vote.node in memory.policy.node_names
        if vote is None or not known:
            metrics.VOTES.labels("unknown", VoteOutcome.INVALID.value).inc()
            return
        outcome = memory.ballot.add_vote(vote)
        metrics.VOTES.labels(vote.node, outcome.value).inc()
        if outcome is VoteOutcome.DIVERGENT:
            _log.error("divergent_vote", node=vote.node, height=vote.height)
        elif outcome is VoteOutcome.EARLY:
            self._early = max(self._early, vote.height)
        elif outcome is VoteOutcome.COUNTED:
            memory.bell.ring()

    async def commit(self) -> None:
        """Commit certified blocks in order, for ever."""
        memory = self._memory
        while True:
            derived = memory.ballot.derived(memory.height + 1)
            block: LedgerBlock | None = None
            if derived is not None:
                look = partial(self._certified, derived)
                block = await memory.retried("looking for a certificate", look)
            if derived is None or block is None:
                await memory.bell.wait(_WAIT_S)
                continue
            await self._commit(derived, block)

    async def _certified(self, derived: Derived) -> LedgerBlock | None:
        """Return the block with its certificate: from our own count of votes, or as others committed it."""
        memory, height = self._memory, derived.block.header.height
        certificate = memory.ballot.certificate(height)
        if certificate is None:
            held = await memory.links.ledger.certified(height)
            parsed = parse_certified(held) if held is not None else None
            if parsed is None or parsed[0].encoded != derived.block.encoded:
                return None
            checked = check_certificate(parsed[1], memory.genesis.origin, derived.policy)
            if not isinstance(checked, Certified) or checked.checkpoint != derived.checkpoint:
                return None
            certificate = parsed[1]
        return ledger_block(derived.block, encode_certified(derived.block, certificate))

    async def _commit(self, derived: Derived, block: LedgerBlock) -> None:
        memory = self._memory
        metrics.count_stage("certified", block.height)
        turn = (memory.identity.rank + block.height) % len(memory.policy.node_names)
        await asyncio.sleep(turn * _STAGGER_S)
        before = derived.before
        commit = partial(memory.committer.commit, before, block, memory.published)
        committed = await memory.retried("committing", commit)
        memory.forks.grown(derived.changes.head.frontier)
        previous = memory.committed.changes if memory.committed else None
        memory.links.store.add_block(previous, committed)
        memory.keep_recent(committed)
        memory.committed = Committed(committed, before, derived.changes)
        memory.ballot.commit(block.height)
        if derived.changes.tables.terms:
            show_policy(memory.policy)
        self.report_repairs()
        metrics.count_stage("committed", block.height)
        metrics.TREE_SIZE.set(derived.checkpoint.size)
        now_ms = memory.links.clock.now_ms()
        for entry in derived.block.entries:
            metrics.COMMIT_SECONDS.observe(max(0, now_ms - entry.time_ms) / 1000)
        _trace(derived.block, now_ms, memory.identity.name)
        memory.bell.ring()

    def report_repairs(self) -> None:
        """Count and log what the committer had to mend."""
        for repair in self._memory.committer.repairs:
            metrics.REPAIRS.labels(repair.value).inc()
            _log.error("ledger_repaired", reason=repair.value, height=self._memory.height)
        self._memory.committer.repairs.clear()

    async def watch_ledger(self) -> None:
        """Compare the ledger with what we hold even when nothing is to be committed."""
        memory = self._memory
        while True:
            last = memory.committed
            if last is not None:
                await memory.retried("checking the ledger", partial(self._check, last))
            await asyncio.sleep(_CHECK_IDLE_S)

    async def _check(self, last: Committed) -> None:
        await self._memory.committer.check_head(last.before, last.block, self._memory.published)
        self.report_repairs()


def _trace(block: Block, now_ms: int, node: str) -> None:
    for entry in block.entries if spans.is_on() else ():
        if entry.kind is Kind.PACKET:
            identifier = packet_id(entry.payload)
            spans.record("node.commit", identifier, entry.time_ms, now_ms, node, height=block.header.height)
