"""One outside witness: its address, its keys, what it has seen of the log, and one exchange with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.core.checkpoint import Checkpoint
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.merkle import Frontier, consistency_path, is_consistent
from pipeline.core.note import NoteSignature, VerifierKey
from pipeline.core.tlog_policy import TlogPolicy
from pipeline.core.witness import WitnessAnswer, WitnessOutcome, encode_request, read_answer
from pipeline.ports import WitnessClient
from pipeline.services.follower import in_thread
from pipeline.services.tile_reader import Read, TileReader, UnreadableError
from pipeline.telemetry.logs import logger

_ATTEMPTS: Final = 3
"""Requests in an exchange: to learn the witness's size, to extend that, and once more if it moved on meanwhile."""
_log = logger(__name__)

Prove = Callable[[int, Checkpoint], list[bytes]]
"""Gives the proof that a checkpoint extends the tree of a size; blocks."""


@dataclass(slots=True)
class Peer:
    """A witness behind one address, with all keys that the policy gives it.

    ``size`` is that of the tree it has, as it said, 0 if unknown; ``lines`` its cosignatures on the candidate;
    ``is_ahead`` whether its tree was larger than ours; ``ask_at`` when to ask again, ``pause`` how long to wait after
    the next failure, both in seconds of the loop's clock.
    """

    url: str
    name: str
    keys: tuple[VerifierKey, ...]
    size: int = 0
    lines: tuple[NoteSignature, ...] = ()
    is_ahead: bool = False
    ask_at: float = 0.0
    pause: float = 0.0

    @property
    def identity(self) -> str:
        """What the witness is remembered by: its keys, whatever the policy calls it."""
        return " ".join(sorted(map(str, self.keys)))

    def is_due(self, size: int, now: float) -> bool:
        """Say whether to ask for a cosignature on the tree of ``size`` leaves."""
        return not self.lines and (self.ask_at <= now or (self.is_ahead and self.size <= size))

    async def exchange(
        self, client: WitnessClient, checkpoint: Checkpoint, note: bytes, prove: Prove
    ) -> WitnessAnswer:
        """Ask for a cosignature on ``checkpoint``, in ``note``, until the answer is not about the old size.

        Raises:
            IntegrityError: our tiles are damaged (code ``export_damaged``).
        """
        answer = WitnessAnswer(WitnessOutcome.STALE)
        for _ in range(_ATTEMPTS):
            old = self.size if self.size <= checkpoint.size else 0
            path = await in_thread(lambda size=old: prove(size, checkpoint))  # type: ignore[misc]
            try:
                status, body = await client.add_checkpoint(self.url, encode_request(old, path, note))
            except TransientError as error:
                _log.info("witness_away", witness=self.name, reason=str(error))
                return WitnessAnswer(WitnessOutcome.AWAY)
            answer = read_answer(status, body, checkpoint, old, self.keys)
            if answer.outcome in (WitnessOutcome.STALE, WitnessOutcome.AHEAD):
                self.size = answer.size
            if answer.outcome is not WitnessOutcome.STALE:
                break
        return answer


def peers_of(policy: TlogPolicy) -> list[Peer]:
    """Return whom to ask: one peer an address."""
    found: dict[str, Peer] = {}
    for witness in policy.witnesses:
        if witness.url is not None:
            peer = found.setdefault(witness.url, Peer(witness.url, witness.name, ()))
            peer.keys += (witness.key,)
    return list(found.values())


def prover(read: Read) -> Prove:
    """Return proofs from the files of an export, each checked, so that no damage of ours looks like a fork.

    They raise IntegrityError (code ``export_damaged``).
    """

    def prove(old: int, checkpoint: Checkpoint) -> list[bytes]:
        if not 0 < old < checkpoint.size:
            return []
        reader = TileReader(read, checkpoint.size)
        try:
            path = consistency_path(old, checkpoint.size, reader.node)
            root = Frontier.read(old, reader.node).root()
        except UnreadableError as error:
            raise _damaged(f"{error.file}: {error.detail}") from None
        if not is_consistent(old, checkpoint.size, root, checkpoint.root, path):
            raise _damaged("they do not lead to the checkpoint's root")
        return path

    return prove


def _damaged(detail: str) -> IntegrityError:
    return IntegrityError(
        f"the exported tiles can't prove what a witness asks for ({detail});"
        " run 'bkdms verify --tiles' on the folder, delete .state in it, and start again",
        code="export_damaged",
    )
