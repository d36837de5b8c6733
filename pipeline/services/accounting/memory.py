"""What the loops of a node share: who it is, its links, and how far it got."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.core.derive import Derived, Deriver
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.merkle import Frontier
from pipeline.core.quorum import Policy
from pipeline.core.signing import Signer
from pipeline.core.state import Changes
from pipeline.core.topics import Topics
from pipeline.ports import Clock, Ledger, LedgerBlock, NodeStore, PartitionReader, Producer, Trimmer
from pipeline.services.accounting.committer import Committer
from pipeline.services.accounting.forks import ForkWatch
from pipeline.services.accounting.votes import Ballot
from pipeline.services.retry import retried
from pipeline.services.signatures import SignaturePool
from pipeline.telemetry import node_metrics as metrics

_T = TypeVar("_T")
_RECENT_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Name, cosigning keys and place of a node among the others (staggers what any node may do)."""

    name: str
    signers: tuple[Signer, ...]
    rank: int


def identity_in(identity: NodeIdentity, policy: Policy) -> NodeIdentity:
    """Return the node as the policy in force names it, with those of its keys that count.

    Raises:
        ConfigError: the policy does not name the node, or names another key for it (code ``config.node_key``).
    """
    named = [key for key in policy.nodes if key.node == identity.name]
    raws = {key.public_key for key in named}
    signers = tuple(signer for signer in identity.signers if signer.public.raw in raws)
    if not named or len(signers) < len(named):
        raise ConfigError(
            f"the policy in force names {'another key for' if named else 'no'} node {identity.name}: correct node.name "
            "and its key files, or have the holders of the root keys name this key (`bkdms root propose nodes`)",
            code="config.node_key",
        )
    return NodeIdentity(identity.name, signers, policy.node_names.index(identity.name))


@dataclass(frozen=True, slots=True)
class NodeLinks:
    """What a node reads and writes; votes have a producer of their own, so that nothing delays them."""

    log: PartitionReader
    votes: PartitionReader
    blocks: PartitionReader
    producer: Producer
    vote_producer: Producer
    trimmer: Trimmer
    ledger: Ledger
    store: NodeStore
    pool: SignaturePool
    clock: Clock

    async def close(self) -> None:
        """Let everything go."""
        for part in (self.log, self.votes, self.blocks, self.producer, self.vote_producer, self.ledger):
            await part.close()
        self.store.close()
        self.pool.close()


@dataclass(frozen=True, slots=True)
class Committed:
    """The last committed block: as committed, the tree before it, what it changed."""

    block: LedgerBlock
    before: Frontier
    changes: Changes


class Bell:
    """Wakes everybody who waits."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake all that wait now."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self, timeout_s: float) -> None:
        """Return at the next ring, or when the time ran out."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        await asyncio.wait([future], timeout=timeout_s)
        self._waiting.discard(future)


@dataclass
class NodeMemory:
    """State that the loops of one node share; they run in one event loop and take turns at awaits."""

    identity: NodeIdentity
    genesis: Genesis
    topics: Topics
    links: NodeLinks
    deriver: Deriver
    ballot: Ballot
    committer: Committer
    committed: Committed | None
    published: int
    blocks_next: int
    forks: ForkWatch
    log_next: int
    unpublished: dict[int, Derived] = field(default_factory=dict)
    recent: dict[int, LedgerBlock] = field(default_factory=dict)
    bell: Bell = field(default_factory=Bell)

    @property
    def height(self) -> int:
        """Height of the last block that this node knows to be committed."""
        return self.committed.block.height if self.committed else 0

    @property
    def policy(self) -> Policy:
        """The policy of the block that this node derives."""
        return self.deriver.state.policy

    @property
    def tree_size(self) -> int:
        """Leaves in the tree after the last committed block."""
        return self.committed.changes.head.frontier.size if self.committed else 0

    def keep_recent(self, block: LedgerBlock) -> None:
        """Keep a block that was just stored at hand until it is published, where there is room; the store has all."""
        if len(self.recent) < _RECENT_BLOCKS:
            self.recent[block.height] = block

    def held_block(self, height: int) -> LedgerBlock | None:
        """Return the committed block at a height, as this node stored it, or None."""
        return self.recent.get(height) or self.links.store.held_block(height)

    async def retried(self, doing: str, step: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat a step until it does not fail for now, and count the failures."""
        return await retried(doing, step, _count_retry)


def _count_retry(error: TransientError) -> None:
    metrics.RETRIES.labels(error.code).inc()
