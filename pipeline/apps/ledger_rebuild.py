"""Rebuilding what follows from the blocks topic: Redis, a node's folder, the exported tiles.

The platform's store: ``store_rebuild``.

Each reads the topic from its beginning and verifies every block; what it replaces stays as it was until the new one
is complete (Redis and tiles: changes only where they differ). Doing it again changes nothing.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.adapters.redis_ledger import RedisLedger
from pipeline.adapters.sql.export_store import EXPORT_FILE, SqlExportStore
from pipeline.adapters.sql.node_store import NODE_FILE, SqliteNodeStore
from pipeline.adapters.sql.rebuilt_file import RebuiltFile
from pipeline.adapters.tile_files import TileFiles
from pipeline.apps.authority import load_genesis
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.workers.account import redis_connection
from pipeline.apps.workers.export import STATE_FOLDER, export_worker
from pipeline.config import Settings, required
from pipeline.core.avro import require_compiled_reader
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.note import NoteProblem, parse_note
from pipeline.core.tiles import tiles_of
from pipeline.services.accounting.startup import recover_signing_records
from pipeline.services.follower import BlockSink, Follower, Skipped, follow_to_end, in_thread
from pipeline.services.rebuild import LedgerRebuild, LedgerRebuilt, NodeSink, TailSink, take_over
from pipeline.telemetry.logs import logger

Progress = Callable[[int, int], None]
"""Hears the offset of the blocks topic that was reached, and its end."""

_log = logger(__name__)


class Rebuild:
    """What all rebuilds share: chain, Kafka, threads for signatures, and where progress is told."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        require_compiled_reader()
        self.settings = settings
        self.genesis: Genesis = load_genesis(settings.genesis)
        self.connection = kafka_connection(settings, "rebuild")
        self._progress = progress

    def reader(self, topic: str) -> KafkaPartitionReader:
        """Return a reader of the chain's partition of a topic."""
        return KafkaPartitionReader(self.connection, topic, self.genesis.partition)

    async def fill(self, sink: BlockSink) -> int:
        """Verify the whole blocks topic into a sink; return the height reached.

        Raises:
            IntegrityError: the topic contradicts itself, or blocks are missing in it.
            TransientError: Kafka or the sink are away.
        """
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="signatures") as pool:
            reader = self.reader(self.settings.topics.blocks)
            follower = Follower(self.genesis, reader, sink, pool=pool, alarm=_alarm)
            try:
                await follow_to_end(follower, self._progress)
            finally:
                await follower.close()
        return follower.height

    @contextmanager
    def scratch(self) -> Iterator[SqlExportStore]:
        """Give a store of state and roots that is gone afterwards, so that memory stays bounded."""
        with tempfile.TemporaryDirectory(prefix="bkdms-rebuild-") as folder:
            store = SqlExportStore(Path(folder), self.genesis)
            try:
                yield store
            finally:
                store.close()


async def rebuild_redis(settings: Settings, progress: Progress) -> LedgerRebuilt:
    """Make Redis hold head, last bodies and headers of the verified chain; nodes may run meanwhile.

    Raises:
        ConfigError: a setting is wrong, or the Redis user may not write.
        IntegrityError: the topic is damaged, or Redis holds a certificate that contradicts it (code ``fork``).
        TransientError: Kafka or Redis are away.
    """
    rebuild = Rebuild(settings, progress)
    ledger = RedisLedger(redis_connection(settings.redis), rebuild.genesis.chain)
    try:
        with rebuild.scratch() as scratch:
            sink = TailSink(scratch)
            await rebuild.fill(sink)
            return await LedgerRebuild(rebuild.genesis, ledger, sink).run()
    finally:
        await ledger.close()


@dataclass(frozen=True, slots=True)
class NodeRebuilt:
    """What a node's new folder holds: last published and last certified height, and signing records.

    ``unreadable`` says why nothing was taken over from the old folder; empty where it could be read.
    """

    published: int
    height: int
    signed: int
    unreadable: str


async def rebuild_node(settings: Settings, progress: Progress) -> NodeRebuilt:
    """Build a node's folder anew from the blocks, and take over what it signed and what is not published yet.

    Raises:
        ConfigError: a setting is wrong, or the node runs (code ``folder_in_use``).
        IntegrityError: the topic is damaged, or the signing records contradict one another.
        TransientError: Kafka is away.
    """
    rebuild, folder = Rebuild(settings, progress), settings.node_state_dir
    name = settings.node_name
    lock = lock_folder(folder, f"the accounting node {name}")
    file = RebuiltFile(folder / NODE_FILE)
    try:
        with rebuild.scratch() as scratch:
            store = SqliteNodeStore(folder, rebuild.genesis, file.draft.name, durable=False)
            try:
                sink = NodeSink(scratch, store)
                published = await rebuild.fill(sink)
                signed, unreadable = _take_over(rebuild.genesis, folder, sink, store)
                votes = rebuild.reader(settings.topics.cosignatures)
                try:
                    signed += await recover_signing_records(store, votes, name, sink.load()[0])
                finally:
                    await votes.close()
            finally:
                store.close()
        file.finish()
        return NodeRebuilt(published, sink.height, signed, unreadable)
    finally:
        file.discard()
        os.close(lock)


def _take_over(genesis: Genesis, folder: Path, sink: NodeSink, store: SqliteNodeStore) -> tuple[int, str]:
    """Carry over what only the old folder holds; return the signing records, and why that was not possible."""
    if not (folder / NODE_FILE).exists():
        return 0, "there was none"
    try:
        old = SqliteNodeStore(folder, genesis)
        try:
            return take_over(sink, old, store), ""
        finally:
            old.close()
    except (IntegrityError, TransientError) as error:
        if error.code == "second_signature":
            raise
        return 0, str(error)


@dataclass(frozen=True, slots=True)
class TilesRebuilt:
    """What the export folder holds: last height, leaves, and how many stray files were removed."""

    height: int
    size: int
    removed: int


async def rebuild_tiles(settings: Settings, progress: Progress) -> TilesRebuilt:
    """Write all exported files again where they differ from the blocks, and remove what is not of the tree.

    Raises:
        ConfigError: a setting is wrong, or the exporter runs (code ``folder_in_use``).
        IntegrityError: the topic is damaged or ends before the exported checkpoint (code ``blocks_topic_cut``),
            or that is of another chain (code ``export_fork``).
        TransientError: Kafka is away or the disk refuses.
    """
    rebuild = Rebuild(settings, progress)
    folder = required(settings.export.folder, "export.folder").absolute()
    _forget_state(rebuild.genesis, folder / STATE_FOLDER)
    worker = export_worker(settings, rebuild.genesis, rebuild.connection, folder)
    try:
        await follow_to_end(worker.follower, progress)
        await worker.finish()
        size, files = worker.follower.tree_size, TileFiles(folder)
        exported = _exported_size(files)
        if size < exported:
            raise IntegrityError(
                f"the blocks topic ends at a tree of {size} leaves, but one of {exported} was exported; "
                "fill the topic again with 'bkdms ledger restore'",
                code="blocks_topic_cut",
            )
        kept = {tile.path for leaves in (size, exported) for tile in tiles_of(leaves)}
        removed = await in_thread(lambda: files.remove_others(kept))
        return TilesRebuilt(worker.follower.height, size, removed)
    finally:
        await worker.close()


def _exported_size(files: TileFiles) -> int:
    note = parse_note(files.read_checkpoint())
    checkpoint = None if isinstance(note, NoteProblem) else parse_checkpoint(note.text)
    return checkpoint.size if isinstance(checkpoint, Checkpoint) else 0


def _forget_state(genesis: Genesis, folder: Path) -> None:
    """Make the exporter begin at the first block; a state that can't be read goes whole."""
    lock = lock_folder(folder, "the exporter")
    os.close(lock)
    try:
        store = SqlExportStore(folder, genesis)
        try:
            store.clear()
        finally:
            store.close()
    except IntegrityError:
        for path in folder.glob(f"{EXPORT_FILE}*"):
            path.unlink()


def _alarm(skipped: Skipped) -> None:
    _log.warning("block_skipped", reason=skipped.problem.reason.value, kafka_offset=skipped.kafka_offset)
