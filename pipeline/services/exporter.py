"""Exporter: follows verified blocks, writes them as tiles, and signs the checkpoint that a quorum certified.

Owns the order: tiles, then checkpoint, then state, so that a crash repeats work and the checkpoint never speaks of
what is not there. The log's key is used here alone, on certified checkpoints only, and never on an older one than
what is exported.
"""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from pipeline.core.block import header_leaf
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint, sign_as_log
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.followed import Applied
from pipeline.core.genesis import Genesis
from pipeline.core.note import NoteProblem, format_note, open_note, parse_note
from pipeline.core.policy_file import log_verifier
from pipeline.core.replica import Extended
from pipeline.core.signing import Signer
from pipeline.core.state import ChainState
from pipeline.core.tiles import Edge, TileId
from pipeline.ports import PartitionReader
from pipeline.services.follower import FETCH_TIMEOUT_MS, Follower, Skipped, in_thread
from pipeline.telemetry import export_metrics as metrics
from pipeline.telemetry.logs import logger

_LAG_EVERY_S: Final = 5.0
_log = logger(__name__)


class TileFolder(Protocol):
    """Where tiles go. Calls come from one thread at a time and block; all raise TransientError where it is away."""

    def read_edge(self, size: int) -> Edge | None:
        """Return the right edge of the tree of ``size`` leaves, or None where it is damaged or not there."""

    def write(self, tiles: Iterable[tuple[TileId, bytes]]) -> None:
        """Write bundles and tiles, each whole or not at all."""

    def read_checkpoint(self) -> bytes:
        """Return the checkpoint's note; empty where there is none."""

    def write_checkpoint(self, note: bytes) -> None:
        """Make everything written durable, then put the checkpoint in its place."""

    def prune(self) -> None:
        """Remove the partial forms of what became full since the last call."""


class ExportStore(Protocol):
    """The exporter's own state. Calls come from one thread at a time and block."""

    def load(self) -> tuple[ChainState, int, bytes]:
        """Return state, next offset of the blocks topic and last signed note; genesis, 0 and none at first."""

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""

    def save(self, applied: Sequence[Applied], next_offset: int, checkpoint: bytes) -> None:
        """Store what blocks changed, the position and the note of the last of them, all or nothing."""

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Let it go."""


class ExportSink:
    """A ``BlockSink`` that writes verified blocks as tiles under a checkpoint signed by the log.

    Raises:
        ConfigError: the key is not the log key of the genesis file (code ``log_key``).
    """

    def __init__(self, genesis: Genesis, signer: Signer, files: TileFolder, store: ExportStore) -> None:
        if signer.public != genesis.log_key:
            raise ConfigError(
                "the key of setting export.key is not the log key that the genesis file names; "
                "name the file keys/log.json of this chain",
                code="log_key",
            )
        self._genesis = genesis
        self._signer = signer
        self._files = files
        self._store = store
        self._edge = Edge.EMPTY
        self._note = b""
        self._exported: Checkpoint | None = None

    def load(self) -> tuple[ChainState, int]:
        """Return the stored state and position; genesis and 0 where the files do not fit them.

        Raises:
            ConfigError: the folder holds another log's checkpoint (code ``other_chain``).
            IntegrityError: the exported checkpoint contradicts the stored state (code ``export_fork``).
        """
        self._exported = self._read_exported()
        state, next_offset, self._note = self._store.load()
        frontier = state.head.frontier
        edge = self._files.read_edge(frontier.size)
        if edge is None or edge.frontier() != frontier:
            metrics.REBUILDS.inc()
            _log.warning("export_rebuilt", reason="files and state do not fit")
            self._store.clear()
            self._note = b""
            state, next_offset, edge = ChainState(self._genesis), 0, Edge.EMPTY
        exported = self._exported
        if exported is not None and not self._holds(exported, edge.size):
            raise _fork(exported)
        self._edge = edge
        if self._note:
            self._publish(Checkpoint(self._genesis.origin, edge.size, edge.frontier().root()))
        return state, next_offset

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""
        return self._store.root_of_size(size)

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Write the tiles of verified blocks, the checkpoint of the last one, and the position.

        Raises:
            IntegrityError: what is exported contradicts the blocks (code ``export_fork``).
        """
        edge = self._edge
        for item in applied:
            before = edge.size
            edge, filled = edge.grow(leaves_of(item.extended))
            self._compare(before, edge)
            self._files.write(filled)
        if applied:
            self._files.write(edge.partials())
            self._note = self._signed(applied[-1].extended)
            self._publish(Checkpoint(self._genesis.origin, edge.size, edge.frontier().root()))
        self._store.save(applied, next_offset, self._note)
        self._edge = edge
        self._files.prune()

    def _holds(self, exported: Checkpoint, size: int) -> bool:
        """Say whether the stored state of ``size`` leaves knows the exported tree; a larger one is compared later."""
        return exported.size > size or self._store.root_of_size(exported.size) == exported.root

    def _publish(self, checkpoint: Checkpoint) -> None:
        """Put the checkpoint in its place, unless a newer one is there already."""
        if self._exported is not None and self._exported.size > checkpoint.size:
            return
        self._files.write_checkpoint(self._note)
        self._exported = checkpoint
        metrics.SIZE.set(checkpoint.size)

    def _compare(self, before: int, edge: Edge) -> None:
        """Halt where a block, which begins at leaf ``before``, leads to another tree than the one exported."""
        exported = self._exported
        if exported is None or not before < exported.size <= edge.size:
            return
        if (exported.size, exported.root) != (edge.size, edge.frontier().root()):
            raise _fork(exported)

    def _signed(self, extended: Extended) -> bytes:
        """Return the certificate's note with the log's signature before the nodes' cosignatures."""
        note = parse_note(extended.certificate)
        checkpoint = None if isinstance(note, NoteProblem) else parse_checkpoint(note.text)
        assert not isinstance(note, NoteProblem)  # noqa: S101  verified by the follower
        assert isinstance(checkpoint, Checkpoint)  # noqa: S101  verified by the follower
        nodes = {(key.name, key.key_id) for key in self._genesis.policy.nodes}
        known = [line for line in note.signatures if (line.name, line.key_id) in nodes]
        return format_note(note.text, [sign_as_log(checkpoint, self._signer), *known])

    def _read_exported(self) -> Checkpoint | None:
        """Return the checkpoint that was exported, or None where there is none that our key signed."""
        data = self._files.read_checkpoint()
        if not data:
            return None
        note = parse_note(data)
        stated = note if isinstance(note, NoteProblem) else parse_checkpoint(note.text)
        if isinstance(stated, Checkpoint) and stated.origin != self._genesis.origin:
            raise ConfigError(
                f"the export folder holds the log {stated.origin}, not {self._genesis.origin}; name another folder",
                code="other_chain",
            )
        opened = open_note(data, [log_verifier(self._genesis)])
        if isinstance(stated, Checkpoint) and not isinstance(opened, NoteProblem):
            return stated
        _log.warning("export_checkpoint_unreadable")
        return None


@dataclass(frozen=True, slots=True)
class ExportParts:
    """What an exporter is made of; ``signer`` holds the log key of the genesis file."""

    genesis: Genesis
    signer: Signer
    reader: PartitionReader
    files: TileFolder
    store: ExportStore


class ExportWorker:
    """Follows the blocks into a folder of tiles. ``pool`` checks signatures on all cores.

    Opened, stepped and closed by its runtime, which repeats what raised ``TransientError``.
    """

    def __init__(self, parts: ExportParts, pool: ThreadPoolExecutor | None = None) -> None:
        self._parts = parts
        sink = ExportSink(parts.genesis, parts.signer, parts.files, parts.store)
        self.follower = Follower(parts.genesis, parts.reader, sink, pool=pool, alarm=_alarm)
        self._opened = False
        self._lag_at = -_LAG_EVERY_S

    @property
    def is_ready(self) -> bool:
        """Whether the stored state was loaded and is being extended."""
        return self._opened

    async def open(self) -> None:
        """Load the stored state and go to the stored position.

        Raises:
            ConfigError: the folder is another log's.
            IntegrityError: folder and state contradict each other (code ``export_fork``).
            TransientError: the disk or Kafka are away; call again.
        """
        await self.follower.open()
        self._opened = True

    async def step(self, timeout_ms: int = FETCH_TIMEOUT_MS) -> int:
        """Export what is next in the blocks topic; return how many records were read.

        Raises:
            IntegrityError: see ``Follower.step``; and code ``export_fork``.
            TransientError: the disk or Kafka are away; call again.
        """
        count = await self.follower.step(timeout_ms)
        now_s = asyncio.get_running_loop().time()
        if now_s - self._lag_at >= _LAG_EVERY_S:
            metrics.LAG.set(await self.follower.lag())
            self._lag_at = now_s
        return count

    async def close(self) -> None:
        """Leave Kafka and let the state go; no step is under way."""
        await self.follower.close()
        await in_thread(self._parts.store.close)


def leaves_of(extended: Extended) -> list[bytes]:
    """Return the leaves that a block adds to the tree: its entries, then its header."""
    block = extended.block
    return [*(entry.leaf for entry in block.entries), header_leaf(block.header)]


async def follow_to_end(follower: Follower) -> None:
    """Follow the blocks to where the topic ends now.

    Raises:
        IntegrityError: see ``Follower.step``.
        TransientError: Kafka or the sink are away.
    """
    await follower.open()
    end = follower.next_offset + await follower.lag()
    while follower.next_offset < end:
        await follower.step()


def _fork(exported: Checkpoint) -> IntegrityError:
    return IntegrityError(
        f"the exported checkpoint of {exported.size} leaves is not of the chain in the blocks topic;"
        " keep the export folder as it is and run 'bkdms verify'",
        code="export_fork",
    )


def _alarm(skipped: Skipped) -> None:
    reason = skipped.problem.reason.value
    metrics.SKIPPED.labels(reason).inc()
    _log.warning("block_skipped", reason=reason, kafka_offset=skipped.kafka_offset)
