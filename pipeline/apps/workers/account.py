"""``bkdms worker account``: one accounting node."""

import asyncio
import os
from collections.abc import Callable
from typing import Annotated, Any

import mode
import typer

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader, KafkaTrimmer
from pipeline.adapters.redis_ledger import RedisConnection, RedisLedger
from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import settings_of
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.keys import key_files
from pipeline.apps.observed import begin
from pipeline.apps.runtime import WorkerOptions, run_worker
from pipeline.apps.upkeep import upkeep_of
from pipeline.config import RedisSettings, Settings, required
from pipeline.core.avro import require_compiled_reader
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Use
from pipeline.core.note import MLDSA44
from pipeline.core.topics import Topics
from pipeline.services.accounting.memory import NodeIdentity, NodeLinks
from pipeline.services.accounting.node import AccountingNode
from pipeline.services.ending import end
from pipeline.services.retry import retried
from pipeline.services.signatures import SignaturePool

_STOP_TIMEOUT_S = 10.0


class NodeService(mode.Service):
    """The accounting node as a service of the worker's runtime; ``make`` opens its folder and links."""

    def __init__(
        self,
        identity: NodeIdentity,
        genesis: Genesis,
        topics: Topics,
        make: Callable[[], NodeLinks],
        **service: Any,
    ) -> None:
        self._about = identity, genesis, topics
        self._make = make
        self._node: AccountingNode | None = None
        self._links: NodeLinks | None = None
        self._work: asyncio.Task[None] | None = None
        super().__init__(**service)

    @property
    def is_ready(self) -> bool:
        """Whether the node caught up and follows the chain log."""
        return self._node is not None and self._node.ready.is_set() and not self.should_stop

    @property
    def is_alive(self) -> bool:
        """Whether its loops still run."""
        return self._work is not None and not self._work.done()

    async def on_start(self) -> None:
        """Begin to catch up."""
        self._work = asyncio.create_task(self._run())
        self.add_future(self._work)

    async def _run(self) -> None:
        self._links = await retried("opening the node's folder", self._opened)
        self._node = AccountingNode(*self._about, self._links)
        await self._node.run()

    async def _opened(self) -> NodeLinks:
        return self._make()

    async def on_stop(self) -> None:
        """Stop the loops between two awaits; every step can be repeated after a restart."""
        if self._work is not None:
            await end({self._work}, _STOP_TIMEOUT_S)
        if self._links is not None:
            await self._links.close()


def redis_connection(settings: RedisSettings) -> RedisConnection:
    """Return the Redis connection that the settings describe."""
    return RedisConnection(
        required(settings.username, "redis.username"),
        required(settings.password_file, "redis.password_file"),
        settings.unix_socket,
        settings.host,
        settings.port,
        settings.tls_files() if settings.unix_socket is None else None,
    )


def node_links(settings: Settings, genesis: Genesis, connection: KafkaConnection) -> NodeLinks:
    """Return what a node reads and writes."""
    topics, partition = settings.topics, genesis.partition
    return NodeLinks(
        KafkaPartitionReader(connection, genesis.topic, partition),
        KafkaPartitionReader(connection, topics.cosignatures, partition),
        KafkaPartitionReader(connection, topics.blocks, partition),
        IdempotentProducer(connection),
        IdempotentProducer(connection),
        KafkaTrimmer(connection),
        RedisLedger(redis_connection(settings.redis), genesis.chain),
        SqliteNodeStore(settings.node_state_dir, genesis),
        SignaturePool(os.cpu_count() or 1),
        SystemClock(),
    )


def node_identity(settings: Settings, genesis: Genesis) -> NodeIdentity:
    """Return who the settings say that this node is, with all its keys; whether they count, the ledger says.

    Raises:
        ConfigError: a key file is missing or wrong.
    """
    name, keys, names = settings.node_name, key_files(settings), genesis.policy.node_names
    files = [settings.node_key]
    # A node that joined later is not in the genesis file; it has the second key if there is a file for it.
    if any((key.node, key.algorithm) == (name, MLDSA44) for key in genesis.policy.nodes) or (
        settings.node_mldsa44_key is not None and settings.node_mldsa44_key.exists()
    ):
        files.append(settings.node_mldsa44_key)
    signers = tuple(keys.signer(file, Use.NODE) for file in files)
    return NodeIdentity(name, signers, names.index(name) if name in names else len(names))


def account(
    ctx: typer.Context,
    *,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the accounting node that the settings name: derive, cosign, commit and publish blocks.

    It keeps its own state folder; a node whose folder is lost catches up from the topics. Start as many as the
    genesis file names, on machines of different operators.

    Example: BKDMS_NODE__NAME=node-1 bkdms --config bkdms.toml worker account
    """
    settings = settings_of(ctx)
    begin("node", settings, log_level)
    require_compiled_reader()
    genesis = load_genesis(settings.genesis)
    name = settings.node_name
    identity = node_identity(settings, genesis)
    connection = kafka_connection(settings, name)

    lock_folder(settings.node_state_dir, f"the accounting node {name} or its rebuild")

    def service() -> mode.Service:
        return NodeService(
            identity, genesis, settings.topics, lambda: node_links(settings, genesis, connection)
        )

    options = WorkerOptions(
        name,
        settings,
        connection,
        settings.node_state_dir,
        upkeep_of("node", settings),
    )
    raise typer.Exit(run_worker(service, options))
