"""Witnessing: gathers outside witnesses' cosignatures on a checkpoint until a policy's quorum holds.

Owns whom to ask when, and that nothing is published against a witness that reports a fork or has seen a larger tree.
Who reported so must cosign before anything is published again, across restarts, while the policy lists it. Signing
and publishing are the exporter's affair.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from pipeline.core.checkpoint import Checkpoint
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.note import MAX_SIGNATURES, Note, VerifierKey, format_note, parse_note
from pipeline.core.policy_file import log_verifier, node_verifiers
from pipeline.core.tlog_policy import TlogPolicy, Witnessed, check_note
from pipeline.core.witness import WitnessAnswer, WitnessOutcome
from pipeline.ports import WitnessClient
from pipeline.services.ending import end
from pipeline.services.follower import in_thread
from pipeline.services.tile_reader import Read
from pipeline.services.witness_peer import Peer, peers_of, prover
from pipeline.telemetry import export_metrics as metrics
from pipeline.telemetry.logs import logger

_log = logger(__name__)


class AccuserStore(Protocol):
    """Remembers who reported a fork or a larger tree. Calls block."""

    def accusers(self) -> frozenset[str]:
        """Return the stored names; none at first."""

    def save_accusers(self, names: Collection[str]) -> None:
        """Store these names instead."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint to publish: its note with the log's signature and the nodes' cosignatures."""

    checkpoint: Checkpoint
    note: bytes


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of witnessing, in seconds.

    ``between``: at least from round to round; ``longest``: what a round waits for answers; ``grace``: for the
    others, once there is a quorum; ``first_pause`` and ``longest_pause``: before one that failed is asked again;
    ``patience``: how long a witness may have a larger tree than a topic that was read to its end.
    """

    between: float = 1.0
    longest: float = 3.0
    grace: float = 1.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    patience: float = 10.0


class Witnessing:
    """Asks the policy's witnesses that have an address. One call at a time.

    ``read`` gives files of the exported log, of which consistency proofs are made.
    """

    def __init__(
        self,
        log_key: VerifierKey,
        policy: TlogPolicy,
        client: WitnessClient,
        read: Read,
        store: AccuserStore,
        *,
        pace: Pace | None = None,
    ) -> None:
        self._log_key = log_key
        self._policy = policy
        self._client = client
        self._prove = prover(read)
        self._store = store
        self._pace = pace or Pace()
        self._peers = peers_of(policy)
        self._accusers: frozenset[str] | None = None
        self._candidate: Candidate | None = None
        self._ahead: tuple[int, float] | None = None
        self._asked: dict[asyncio.Task[WitnessAnswer], tuple[Peer, Checkpoint]] = {}
        self._round_at = 0.0

    async def step(self, candidate: Candidate, *, at_end: bool) -> bytes | None:
        """Ask who has not cosigned yet; return the note to publish once the quorum holds, else None.

        ``at_end`` says whether the blocks topic was read to its end.

        Raises:
            IntegrityError: a witness reports a fork (code ``witness_fork``) or keeps having a larger tree than ours
                (``witness_ahead``), or our tiles are damaged (``export_damaged``).
            TransientError: the disk refuses.
        """
        now = _now()
        if now < self._round_at:
            return None
        self._round_at = now + self._pace.between
        if candidate != self._candidate:
            self._candidate = candidate
            for peer in self._peers:
                peer.lines = ()
        if self._accusers is None:
            self._accusers = await in_thread(self._store.accusers)
        await self._round(candidate)
        await self._weigh_ahead(candidate.checkpoint, at_end=at_end)
        if self._ahead is not None or any(
            peer.identity in self._accusers and not peer.lines for peer in self._peers
        ):
            return None
        return self._met(candidate)

    async def close(self) -> None:
        """Ask no more, and disconnect."""
        await end(self._asked)
        await self._client.close()

    @property
    def missing(self) -> str:
        """Who has not cosigned the last candidate, for people."""
        return ", ".join(peer.name for peer in self._peers if not peer.lines) or "no witness with an address"

    async def _round(self, candidate: Candidate) -> None:
        """Ask everyone due at once, until all answered, the round is too long, or the grace after a quorum is over.

        Who has not answered then is heard in a later round: it may be the one that reports a fork.
        """
        checkpoint, note = candidate.checkpoint, _signed_by(self._log_key, candidate.note)
        asked = {peer.url for peer, _ in self._asked.values()}
        for peer in self._peers:
            if peer.url not in asked and peer.is_due(checkpoint.size, _now()):
                exchange = peer.exchange(self._client, checkpoint, note, self._prove)
                self._asked[asyncio.create_task(exchange)] = peer, checkpoint
        deadline = _now() + self._pace.longest
        while self._asked and (left := deadline - _now()) > 0:
            done, _ = await asyncio.wait(self._asked, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await self._take(*self._asked.pop(task), task.result())
            if self._met(candidate) is not None:
                deadline = min(deadline, _now() + self._pace.grace)

    async def _take(self, peer: Peer, checkpoint: Checkpoint, answer: WitnessAnswer) -> None:
        """Note what a witness answered about a checkpoint, which may not be the candidate any more."""
        metrics.WITNESS_ANSWERS.labels(peer.name, answer.outcome.value).inc()
        peer.is_ahead = answer.outcome is WitnessOutcome.AHEAD
        if answer.outcome is WitnessOutcome.COSIGNED:
            peer.size, peer.pause = checkpoint.size, 0.0
            if self._candidate is not None and self._candidate.checkpoint == checkpoint:
                peer.lines = answer.cosignatures
            await self._remember(peer, accuses=False)
            return
        if answer.outcome is WitnessOutcome.FORK:
            await self._remember(peer, accuses=True)
            raise _fork(peer.name, checkpoint)
        peer.pause = min(self._pace.longest_pause, 2 * peer.pause or self._pace.first_pause)
        peer.ask_at = _now() + peer.pause
        outcome = answer.outcome.value
        _log.warning("witness_did_not_cosign", witness=peer.name, outcome=outcome, again_s=peer.pause)

    async def _weigh_ahead(self, checkpoint: Checkpoint, *, at_end: bool) -> None:
        """Halt where a witness has had a larger tree than the whole topic for long."""
        largest = max(self._peers, key=lambda peer: peer.size, default=None)
        if largest is None or largest.size <= checkpoint.size:
            self._ahead = None
            return
        if self._ahead is None or self._ahead[0] <= checkpoint.size or not at_end:
            self._ahead = (largest.size, _now())
        if _now() - self._ahead[1] >= self._pace.patience:
            await self._remember(largest, accuses=True)
            raise _rolled_back(largest, checkpoint)

    async def _remember(self, peer: Peer, *, accuses: bool) -> None:
        before = self._accusers or frozenset()
        after = before | {peer.identity} if accuses else before - {peer.identity}
        if after != before:
            await in_thread(lambda: self._store.save_accusers(after))
            self._accusers = after

    def _met(self, candidate: Candidate) -> bytes | None:
        """Return the note with what was gathered, where it makes the quorum."""
        note = _parsed(candidate.note)
        gathered = [line for peer in self._peers for line in peer.lines]
        whole = format_note(note.text, [*note.signatures, *gathered][:MAX_SIGNATURES])
        return whole if isinstance(check_note(self._policy, whole), Witnessed) else None


def check_export_policy(genesis: Genesis, policy: TlogPolicy) -> None:
    """Refuse a policy by which no checkpoint of this chain could ever be published.

    Raises:
        ConfigError: it is another log's, has an unusable address or a quorum out of reach (code ``policy``).
    """
    if policy.logs and log_verifier(genesis) not in [log.key for log in policy.logs]:
        raise _unusable(f"it does not list the log {genesis.origin}")
    for witness in policy.witnesses:
        if witness.url is not None and not _is_address(witness.url):
            raise _unusable(
                f"the address of witness {witness.name} is not plain http://HOST/… or https://HOST/… "
                "(no user, password, query or fragment)"
            )
    nodes = set(node_verifiers(genesis))
    reachable = [item.name for item in policy.witnesses if item.url is not None or item.key in nodes]
    if not policy.is_met(reachable):
        raise _unusable(
            f"its quorum {policy.quorum} needs witnesses that are neither accounting nodes nor have an address"
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _parsed(note: bytes) -> Note:
    parsed = parse_note(note)
    assert isinstance(parsed, Note)  # noqa: S101  the exporter made it
    return parsed


def _signed_by(key: VerifierKey, note: bytes) -> bytes:
    """Return a note with one key's signature alone: witnesses read requests of some kilobytes only."""
    parsed = _parsed(note)
    lines = [line for line in parsed.signatures if (line.name, line.key_id) == (key.name, key.key_id)]
    return format_note(parsed.text, lines)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_plain = "@" not in parts.netloc and not parts.query and not parts.fragment
        return is_plain and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _unusable(detail: str) -> ConfigError:
    return ConfigError(f"the policy of setting export.policy can't be used: {detail}", code="policy")


def _fork(name: str, checkpoint: Checkpoint) -> IntegrityError:
    return IntegrityError(
        f"witness {name} knows another tree of this log than that of {checkpoint.size} leaves to be published;"
        " the exported checkpoint stays as it is; run 'bkdms verify'",
        code="witness_fork",
    )


def _rolled_back(peer: Peer, checkpoint: Checkpoint) -> IntegrityError:
    return IntegrityError(
        f"witness {peer.name} has seen {peer.size} leaves of this log, but the blocks topic ends at"
        f" {checkpoint.size}; the exported checkpoint stays as it is; run 'bkdms verify'",
        code="witness_ahead",
    )
