"""The accounting node: derive → persist signing record → cosign → commit → publish, without a leader.

Each loop does one step and is repeated by itself where something is not there for now; only
contradictions between verified data (``IntegrityError``) end the node.
"""

import asyncio

import structlog

from pipeline.core.derive import Deriver
from pipeline.core.errors import TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.topics import Topics
from pipeline.services.accounting.committer import Committer
from pipeline.services.accounting.committing import Committing
from pipeline.services.accounting.deriving import Deriving
from pipeline.services.accounting.memory import Committed, NodeIdentity, NodeLinks, NodeMemory, identity_in
from pipeline.services.accounting.publishing import Publishing
from pipeline.services.accounting.shown import show_policy
from pipeline.services.accounting.startup import catch_up, recover_signing_records
from pipeline.services.accounting.votes import Ballot
from pipeline.services.ending import end
from pipeline.services.retry import retried
from pipeline.telemetry import node_metrics as metrics

_log = structlog.get_logger(__name__)


class AccountingNode:
    """One accounting node; ``ready`` is set once it follows the chain log."""

    def __init__(self, identity: NodeIdentity, genesis: Genesis, topics: Topics, links: NodeLinks) -> None:
        self._identity = identity
        self._genesis = genesis
        self._topics = topics
        self._links = links
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Catch up, then work until cancelled.

        Raises:
            IntegrityError: verified data contradict one another; the message names what to run.
        """
        memory = await retried("catching up", self._resume)
        deriving, committing, publishing = Deriving(memory), Committing(memory), Publishing(memory)
        loops = (
            deriving.run,
            deriving.tick,
            deriving.repeat_votes,
            deriving.measure_lag,
            committing.count_votes,
            committing.commit,
            committing.watch_ledger,
            publishing.follow,
            publishing.publish,
        )
        self.ready.set()
        tasks = [asyncio.ensure_future(loop()) for loop in loops]
        try:
            # No loop ends by itself, so the first that does says why, even where it was only cancelled.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.cancelled():
                    raise TransientError("a loop of the node was cancelled from inside", code="cancelled")
                task.result()
        finally:
            await end(tasks)

    async def _resume(self) -> NodeMemory:
        links, genesis = self._links, self._genesis
        resumed = await catch_up(genesis, links.store, links.blocks, links.log, links.pool)
        await recover_signing_records(links.store, links.votes, self._identity.name, resumed.state)
        committed = None
        if resumed.tail and resumed.last_changes is not None:
            committed = Committed(resumed.tail[-1], resumed.before, resumed.last_changes)
        height = committed.block.height if committed else 0
        for stage in ("derived", "certified", "committed"):
            metrics.count_stage(stage, height)
        metrics.count_stage("published", resumed.published)
        metrics.TREE_SIZE.set(resumed.state.head.frontier.size)
        policy_at = resumed.forks.policy_at = resumed.state.policy_at
        identity = identity_in(self._identity, resumed.state.policy)
        show_policy(resumed.state.policy)
        _log.info("node_resumed", height=height, published=resumed.published)
        return NodeMemory(
            identity,
            genesis,
            self._topics,
            links,
            Deriver(resumed.state),
            Ballot(genesis.origin, policy_at, height),
            Committer(genesis.origin, policy_at, links.ledger, links.store),
            committed,
            resumed.published,
            resumed.blocks_next,
            resumed.forks,
            resumed.log_next,
        )
