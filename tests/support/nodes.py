"""Runs accounting nodes in the test's own event loop, on the session's Kafka and Redis."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from ops.stack import EmbeddedStack
from ops.tls.authority import CertificateFiles
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader, KafkaTrimmer
from pipeline.adapters.redis_ledger import RedisConnection, RedisLedger
from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.adapters.tls import TlsFiles
from pipeline.core.block import certified_body, parse_certified
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.errors import BkdmsError
from pipeline.core.signing import Signer
from pipeline.core.topics import Topics
from pipeline.ports import LedgerBlock, Outgoing, Received
from pipeline.services.accounting.memory import NodeIdentity, NodeLinks
from pipeline.services.accounting.node import AccountingNode
from pipeline.services.accounting.startup import ledger_block
from pipeline.services.accounting.votes import Candidate, vote_message
from pipeline.services.ending import end
from pipeline.services.signatures import SignaturePool
from tests.support.waiting import in_time, read_topic
from tests.support.world import World, control_value

_STOP_TIMEOUT_S = 30.0


def tls(files: CertificateFiles) -> TlsFiles:
    """Return certificate files as the adapters take them."""
    return TlsFiles(files.ca, files.certificate, files.key)


class ChainRig:
    """A chain of a ``World`` on real parts: nodes by name, a producer, and readers of its topics."""

    def __init__(self, stack: EmbeddedStack, world: World, topics: Topics, folder: Path) -> None:
        self.stack = stack
        self.world = world
        self.topics = topics
        self.site = world.site(1)
        self.folder = folder
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._links: dict[str, NodeLinks] = {}
        self.producer = IdempotentProducer(self.connection("node", "rig"))

    def connection(self, role: str, name: str) -> KafkaConnection:
        """Return a connection as a principal, which is made when missing."""
        return KafkaConnection(self.stack.kafka_bootstrap, tls(self.stack.credentials(role, name)), name)

    def redis(self, user: str = "node") -> RedisConnection:
        """Return a Redis connection as a user."""
        address = self.stack.redis_address(user, self.stack.credentials("node", "rig"))
        return RedisConnection(
            address.username,
            address.password_file,
            address.unix_socket,
            address.host,
            address.port,
            tls(address.tls) if address.tls else None,
        )

    def ledger(self) -> RedisLedger:
        """Return the ledger of the chain."""
        return RedisLedger(self.redis(), self.world.genesis.chain)

    def links(self, name: str, folder: Path | None = None) -> NodeLinks:
        """Return a node's links, on a folder of its own."""
        connection, partition = self.connection("node", name), self.world.genesis.partition
        return NodeLinks(
            KafkaPartitionReader(connection, self.topics.chain, partition),
            KafkaPartitionReader(connection, self.topics.cosignatures, partition),
            KafkaPartitionReader(connection, self.topics.blocks, partition),
            IdempotentProducer(connection),
            IdempotentProducer(connection),
            KafkaTrimmer(connection),
            self.ledger(),
            SqliteNodeStore(folder or self.folder / name, self.world.genesis),
            SignaturePool(2),
            SystemClock(),
        )

    def start_node(self, name: str, signer: Signer | None = None, folder: Path | None = None) -> None:
        """Start a node in the background."""
        rank = list(self.world.node_signers).index(name)
        identity = NodeIdentity(name, (signer,) if signer else self.world.signers(name), rank)
        self._links[name] = self.links(name, folder)
        node = AccountingNode(identity, self.world.genesis, self.topics, self._links[name])
        self.tasks[name] = asyncio.create_task(node.run())

    async def start_liar(self, name: str) -> None:
        """Put votes of a node for a false root on the topic, well signed, for the next heights."""
        genesis, signer = self.world.genesis, self.world.node_signers[name]
        votes = []
        for height in range(1, 4):
            root = height.to_bytes(32, "big")
            lie = Candidate(height, root, Checkpoint(genesis.origin, 3 * height, root))
            value = vote_message(genesis.chain, lie, name, [signer], 1)
            votes.append(Outgoing(self.topics.cosignatures, value, name.encode(), genesis.partition))
        await self.producer.send(votes)

    async def stop_node(self, name: str) -> None:
        """Cancel a node."""
        task = self.tasks.pop(name)
        await end({task}, _STOP_TIMEOUT_S)
        with contextlib.suppress(asyncio.CancelledError, BkdmsError):
            task.result()
        await self._links.pop(name).close()

    async def send(self, values: list[bytes]) -> None:
        """Put values on the chain log."""
        await self.producer.send([Outgoing(self.topics.chain, value, None, 0) for value in values])

    async def read(self, topic: str) -> list[Received]:
        """Return everything in partition 0 of a topic."""
        return await read_topic(self.connection("node", "rig"), topic)

    async def blocks(self) -> list[LedgerBlock]:
        """Return all blocks of the blocks topic, as the ledger holds them."""
        found = []
        for record in await self.read(self.topics.blocks):
            body = certified_body(record.value)
            parsed = parse_certified(body)
            assert parsed is not None
            found.append(ledger_block(parsed[0], body))
        return found

    async def redis_content(self) -> dict[str, dict[Any, Any]]:
        """Return head, bodies and headers as Redis holds them."""
        admin: Redis = self.redis("admin").open()
        found = {name: await admin.hgetall(self._redis_key(name)) for name in ("head", "bodies", "headers")}
        await admin.aclose()
        return found

    async def wipe_redis(self) -> None:
        """Delete everything that Redis holds of the chain, as its administrator could."""
        admin: Redis = self.redis("admin").open()
        await admin.delete(*map(self._redis_key, ("head", "bodies", "headers", "lease")))
        await admin.aclose()

    def _redis_key(self, name: str) -> str:
        return f"bkdms:{{{self.world.genesis.chain.hex()}}}:{name}"

    async def until(self, holds: Callable[[], object], timeout_s: float = 30) -> None:
        """Wait until a condition holds; a node that ended with an error fails the wait."""
        await in_time(self._until(holds), timeout_s, f"waiting for {holds.__qualname__}")

    async def _until(self, holds: Callable[[], object]) -> None:
        while True:
            for task in self.tasks.values():
                if task.done():
                    task.result()
            result = holds()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.05)

    async def until_published(self, height: int) -> None:
        """Wait until the ledger says that a height is published."""
        ledger = self.ledger()

        async def published() -> bool:
            head = await ledger.head()
            return head is not None and head.published >= height

        try:
            await self.until(published)
        finally:
            await ledger.close()

    async def close(self) -> None:
        """Stop all nodes."""
        for name in list(self.tasks):
            await self.stop_node(name)
        await self.producer.close()


@contextlib.asynccontextmanager
async def chain_rig(
    stack: EmbeddedStack, topics: Topics, folder: Path, nodes: int = 4, quorum: int = 3
) -> AsyncIterator[ChainRig]:
    """Open a rig with a fresh chain on the topics of one test."""
    rig = ChainRig(stack, World(nodes, quorum, topic=topics.chain), topics, folder)
    try:
        yield rig
    finally:
        await rig.close()


@contextlib.asynccontextmanager
async def running_rig(
    stack: EmbeddedStack, topics: Topics, folder: Path, sites: int
) -> AsyncIterator[ChainRig]:
    """Open a rig on which every node runs and so many sites are enrolled."""
    stack.add_topics(topics)
    async with chain_rig(stack, topics, folder) as opened:
        for name in opened.world.node_signers:
            opened.start_node(name)
        enrolled = [opened.world.site(number) for number in range(sites)]
        await opened.send([control_value(raw) for site in enrolled for raw in opened.world.enrolment(site)])
        await opened.until_published(1)
        yield opened
