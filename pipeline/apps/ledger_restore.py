"""``bkdms ledger restore`` and ``reanchor`` put together: files and folders, Kafka, keys."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.block_container import read_container
from pipeline.adapters.block_folder import block_files, read_blocks
from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.kafka import IdempotentProducer, KafkaPartitionReader
from pipeline.adapters.sql.node_store import NODE_FILE, SqliteNodeStore
from pipeline.apps.authority import load_genesis
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.keys import key_files
from pipeline.config import Settings
from pipeline.core.avro import require_compiled_reader
from pipeline.core.block import parse_certified
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Use
from pipeline.ports import PartitionReader, Producer, SignedBlock
from pipeline.services.reanchor import Reanchored, reanchor
from pipeline.services.registry_view import RegistryView
from pipeline.services.restore import Restore, Restored, Supply
from pipeline.services.signatures import SignaturePool


@dataclass(frozen=True, slots=True)
class Sources:
    """Where blocks come from: exported ones by file or folder, and folders of stopped nodes."""

    blocks: Sequence[Path]
    nodes: Sequence[Path]


async def restore_blocks(settings: Settings, sources: Sources, progress: Callable[[int], None]) -> Restored:
    """Bring the blocks topic to the highest block that the sources certify.

    Raises:
        ConfigError: a setting or source is wrong, or a node still works in its folder.
        IntegrityError: two valid certificates contradict each other.
        TransientError: Kafka is away; run again.
    """
    require_compiled_reader()
    if not sources.blocks and not sources.nodes:
        raise ConfigError("name where the blocks are, by --blocks or --node")
    genesis = load_genesis(settings.genesis)
    pool = SignaturePool(os.cpu_count() or 1)
    try:
        with _opened(genesis, sources) as (supplies, signed):
            async with _kafka(settings, genesis) as (blocks, _, producer):
                work = Restore(genesis, settings.topics, blocks, producer, pool)
                return await work.run(supplies, signed, progress)
    finally:
        pool.close()


async def append_reanchor(settings: Settings, keys: Sequence[Path], draft: bytes | None) -> Reanchored:
    """Sign the reanchor of the last published block, beside those who signed ``draft``; append it if they suffice.

    Raises:
        ConfigError: a setting, key or draft is wrong.
        IntegrityError: the blocks topic contradicts itself.
        TransientError: Kafka is away.
    """
    require_compiled_reader()
    genesis = load_genesis(settings.genesis)
    files = key_files(settings)
    signers = [files.signer(path, Use.ROOT) for path in keys]
    async with _kafka(settings, genesis) as (blocks, log, producer):
        state = await RegistryView(genesis, blocks).refresh()
        return await reanchor(state, signers, draft, log, producer)


@asynccontextmanager
async def _kafka(
    settings: Settings, genesis: Genesis
) -> AsyncIterator[tuple[PartitionReader, PartitionReader, Producer]]:
    """Give readers of the blocks topic and of the chain log, and a producer."""
    connection = kafka_connection(settings, "ledger")
    blocks = KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition)
    log = KafkaPartitionReader(connection, genesis.topic, genesis.partition)
    producer = IdempotentProducer(connection)
    try:
        yield blocks, log, producer
    finally:
        for close in (blocks.close, log.close, producer.close):
            await close()


@contextmanager
def _opened(genesis: Genesis, sources: Sources) -> Iterator[tuple[list[Supply], list[SignedBlock]]]:
    """Open all sources; nodes' folders stay locked meanwhile, so that nothing is signed that is not seen here."""
    supplies = [Supply(str(path), _exported(path)) for path in sources.blocks]
    signed: list[SignedBlock] = []
    with ExitStack() as stack:
        for folder in sources.nodes:
            if not (folder / NODE_FILE).exists():
                raise ConfigError(
                    f"{folder} is no folder of an accounting node: there is no {NODE_FILE} in it"
                )
            stack.callback(os.close, lock_folder(folder, "its accounting node"))
            store = SqliteNodeStore(folder, genesis)
            stack.callback(store.close)
            supplies.append(Supply(str(folder), [(b.height, b.certified) for b in store.held_blocks(0)]))
            signed += store.signed_above(store.load(genesis).published)
        yield supplies, signed


def _exported(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield heights and blocks of a folder of block files or of a container file."""
    if path.is_dir():
        yield from ((height, data) for height, _, data in read_blocks(block_files(path)))
        return
    height = 0
    for data in read_container(path):
        parsed = parse_certified(data)
        height = height + 1 if parsed is None else parsed[0].header.height
        yield height, data
