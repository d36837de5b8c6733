"""Export sink: writes verified blocks as tiles and signs the checkpoint that a quorum certified.

Owns the order: tiles, then checkpoint, then state, so that a crash repeats work and the checkpoint never speaks of
what is not there; under a policy tiles, then state, then checkpoint, once witnesses made the quorum. The log's key is
used here alone, on certified checkpoints only, and never on an older one than what is exported.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from pipeline.core.block import header_leaf
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint, sign_as_log
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.followed import Applied
from pipeline.core.genesis import Genesis
from pipeline.core.note import NoteProblem, format_note, open_note, parse_note
from pipeline.core.policy_file import log_verifier, policy_text
from pipeline.core.quorum import Policy
from pipeline.core.replica import Extended
from pipeline.core.signing import Signer
from pipeline.core.state import ChainState
from pipeline.core.tiles import Edge, TileId, partials_of
from pipeline.core.tlog_policy import TlogPolicy, Witnessed, check_note
from pipeline.services.witnessing import AccuserStore, Candidate, check_export_policy
from pipeline.telemetry import export_metrics as metrics
from pipeline.telemetry.logs import logger

_log = logger(__name__)


class TileFolder(Protocol):
    """Where tiles go. Calls come from one thread at a time and block; all raise TransientError where it is away."""

    def read_edge(self, size: int) -> Edge | None:
        """Return the right edge of the tree of ``size`` leaves, or None where it is damaged or not there."""

    def write(self, tiles: Iterable[tuple[TileId, bytes]]) -> None:
        """Write bundles and tiles, each whole or not at all."""

    def read(self, path: str) -> bytes:
        """Return the content of a file of the log; empty where there is none."""

    def read_checkpoint(self) -> bytes:
        """Return the checkpoint's note; empty where there is none."""

    def write_checkpoint(self, note: bytes) -> None:
        """Make everything written durable, then put the checkpoint in its place."""

    def write_policy(self, policy: bytes) -> None:
        """Put the auditors' policy beside the checkpoint."""

    def prune(self, kept: Collection[str]) -> None:
        """Remove the partial forms of what became full, but for paths in ``kept``."""


class ExportStore(AccuserStore, Protocol):
    """The exporter's own state. Calls come from one thread at a time and block."""

    def load(self) -> tuple[ChainState, int, bytes]:
        """Return state, next offset of the blocks topic and last signed note; genesis, 0 and none at first."""

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""

    def save(self, applied: Sequence[Applied], next_offset: int, checkpoint: bytes) -> None:
        """Store what blocks changed, the position and the note of the last of them, all or nothing."""

    def clear(self) -> None:
        """Forget everything but who accuses."""

    def close(self) -> None:
        """Let it go."""


class ExportSink:
    """A ``BlockSink`` that writes verified blocks as tiles under a checkpoint signed by the log.

    Under a ``policy`` the checkpoint of the last block is only a candidate, until ``publish`` is called.

    Raises:
        ConfigError: the key is not the log key of the genesis file (code ``log_key``), or the policy can't be met
            (``policy``).
    """

    def __init__(
        self,
        genesis: Genesis,
        signer: Signer,
        files: TileFolder,
        store: ExportStore,
        policy: TlogPolicy | None = None,
    ) -> None:
        if signer.public != genesis.log_key:
            raise ConfigError(
                "the key of setting export.key is not the log key that the genesis file names; "
                "name the file keys/log.json of this chain",
                code="log_key",
            )
        if policy is not None:
            check_export_policy(genesis, policy)
        self._genesis = genesis
        self._signer = signer
        self._files = files
        self._store = store
        self._policy = policy
        self._state = ChainState(genesis)
        self._edge = Edge.EMPTY
        self._note = b""
        self._exported: Checkpoint | None = None
        self._told: Policy = genesis.policy
        self.candidate: Candidate | None = None

    def load(self) -> tuple[ChainState, int]:
        """Return the stored state and position; genesis and 0 where the files do not fit them.

        Raises:
            ConfigError: the folder holds another log's checkpoint (code ``other_chain``).
            IntegrityError: the exported checkpoint contradicts the stored state (code ``export_fork``).
        """
        self._exported, self.candidate = self._read_exported(), None
        state, next_offset, self._note = self._store.load()
        frontier = state.head.frontier
        edge = self._files.read_edge(frontier.size)
        if edge is None or edge.frontier() != frontier:
            metrics.REBUILDS.inc()
            _log.warning("export_rebuilt", reason="files and state do not fit")
            self._store.clear()
            self._note = b""
            state, next_offset, edge = ChainState(self._genesis), 0, Edge.EMPTY
        self._state = state
        exported = self._exported
        if exported is not None and not self._holds(exported, edge.size):
            raise _fork(exported)
        self._edge = edge
        if self._note:
            self._offer(edge)
        return state, next_offset

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the stored block that ends at this tree size, or None."""
        return self._store.root_of_size(size)

    def store(self, applied: Sequence[Applied], next_offset: int) -> None:
        """Write the tiles of verified blocks, the checkpoint of the last one (or its candidate), and the position.

        Raises:
            IntegrityError: what is exported contradicts the blocks (code ``export_fork``).
        """
        edge, tiles = self._edge, list[tuple[TileId, bytes]]()
        for item in applied:
            before = edge.size
            edge, filled = edge.grow(leaves_of(item.extended))
            self._compare(before, edge)
            tiles += filled
        if applied:
            self._files.write([*tiles, *edge.partials()])
            self._note = self._signed(applied[-1].extended)
            self._offer(edge)
        self._store.save(applied, next_offset, self._note)
        self._edge = edge
        self._prune()

    def publish(self, note: bytes) -> None:
        """Put the candidate's note in its place, with the cosignatures that the policy asks for.

        Raises:
            TransientError: the disk refuses.
        """
        candidate = self.candidate
        assert candidate is not None  # noqa: S101  the caller has it from here
        self._put(candidate.checkpoint, note)
        self.candidate = None
        metrics.UNPUBLISHED.set(0)
        self._prune()

    def _holds(self, exported: Checkpoint, size: int) -> bool:
        """Say whether the stored state of ``size`` leaves knows the exported tree; a larger one is compared later."""
        return exported.size > size or self._store.root_of_size(exported.size) == exported.root

    def _offer(self, edge: Edge) -> None:
        """Publish the checkpoint of the last block, or make it the candidate, unless a newer one is there already."""
        checkpoint = Checkpoint(self._genesis.origin, edge.size, edge.frontier().root())
        exported = self._exported
        if exported is not None and exported.size > checkpoint.size:
            return
        if self._policy is None:
            self._put(checkpoint, self._note)
        elif exported != checkpoint or not self._is_accepted(self._policy):
            self.candidate = Candidate(checkpoint, self._note)
            metrics.UNPUBLISHED.set(checkpoint.size - (exported.size if exported is not None else 0))

    def _put(self, checkpoint: Checkpoint, note: bytes) -> None:
        in_force = self._state.policy_at(checkpoint.size)
        if self._policy is None and in_force != self._told:  # root keys may have replaced nodes
            self._files.write_policy(policy_text(self._genesis, in_force).encode())
            self._told = in_force
        self._files.write_checkpoint(note)
        self._exported = checkpoint
        metrics.SIZE.set(checkpoint.size)

    def _prune(self) -> None:
        """Remove partial tiles that are full by now, but for those of the published checkpoint."""
        size = self._exported.size if self._exported is not None else 0
        self._files.prune({tile.path for tile in partials_of(size)})

    def _is_accepted(self, policy: TlogPolicy) -> bool:
        """Say whether what is exported holds under the policy, which may be newer."""
        return isinstance(check_note(policy, self._files.read_checkpoint()), Witnessed)

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
        nodes = {(key.name, key.key_id) for key in self._state.policy_at(checkpoint.size).nodes}
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


def leaves_of(extended: Extended) -> list[bytes]:
    """Return the leaves that a block adds to the tree: its entries, then its header."""
    block = extended.block
    return [*(entry.leaf for entry in block.entries), header_leaf(block.header)]


def _fork(exported: Checkpoint) -> IntegrityError:
    return IntegrityError(
        f"the exported checkpoint of {exported.size} leaves is not of the chain in the blocks topic;"
        " keep the export folder as it is and run 'bkdms verify'",
        code="export_fork",
    )
