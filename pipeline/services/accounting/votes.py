"""Votes: cosignature messages of the nodes, gathered until a block has its certificate. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from pipeline.core import avro
from pipeline.core.checkpoint import Checkpoint, Cosignature, assemble_certificate, cosign
from pipeline.core.derive import Derived
from pipeline.core.merkle import EMPTY_ROOT
from pipeline.core.note import split_timestamp
from pipeline.core.quorum import Policy, PolicyAt, cosigner_of
from pipeline.core.signing import Signer
from schemas import schema

_COSIGNATURE = schema("Cosignature")
_MAX_MESSAGE_BYTES = 16_384
_EARLY_HEIGHTS = 256
_KEY_ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class Vote:
    """One node's cosignatures for a checkpoint at a height; not verified by construction."""

    height: int
    block_hash: bytes
    tree_size: int
    root: bytes
    node: str
    cosignatures: tuple[Cosignature, ...]


class VoteOutcome(Enum):
    """What became of a vote; the value is the metric label."""

    COUNTED = "counted"
    REPEATED = "repeated"
    EARLY = "early"
    LATE = "late"
    INVALID = "invalid"
    DIVERGENT = "divergent"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a vote is about: a height, the hash of the block there, the checkpoint after it."""

    height: int
    block_hash: bytes
    checkpoint: Checkpoint


def vote_message(
    chain: bytes, about: Candidate, node: str, signers: Sequence[Signer], timestamp: int
) -> bytes:
    """Return the framed message with a cosignature of each of a node's keys; time in seconds."""
    lines = [cosign(about.checkpoint, node, signer, timestamp).as_note_signature() for signer in signers]
    fields = {
        "chain": chain,
        "height": about.height,
        "block_hash": about.block_hash,
        "tree_size": about.checkpoint.size,
        "root": about.checkpoint.root,
        "node": node,
        "signatures": [line.key_id + line.signature for line in lines],
    }
    return avro.frame(_COSIGNATURE, avro.encode(_COSIGNATURE, fields))


def parse_vote(chain: bytes, value: bytes | None) -> Vote | None:
    """Return the vote in a message of this chain, or None for anything else. Total."""
    if not value or len(value) > _MAX_MESSAGE_BYTES:
        return None
    raw = avro.unframe(_COSIGNATURE, value)
    if raw is None or raw["chain"] != chain or min(raw["height"], raw["tree_size"]) < 1:
        return None
    if raw["root"] == EMPTY_ROOT:
        return None
    try:
        cosignatures = tuple(_cosignature(raw["node"], line) for line in raw["signatures"])
    except ValueError:
        return None
    return Vote(raw["height"], raw["block_hash"], raw["tree_size"], raw["root"], raw["node"], cosignatures)


def genuine_lines(origin: str, policy: Policy, vote: Vote) -> tuple[Cosignature, ...]:
    """Return the cosignatures of a vote that its node really made; height and block hash are not covered by them."""
    signed = Checkpoint(origin, vote.tree_size, vote.root)
    return tuple(c for c in vote.cosignatures if cosigner_of(signed, c, policy) == vote.node)


def _cosignature(name: str, line: bytes) -> Cosignature:
    return Cosignature(name, line[:_KEY_ID_BYTES], *split_timestamp(line[_KEY_ID_BYTES:]))


@dataclass
class Ballot:
    """Derived blocks above the committed height, and the votes for them, each by the policy of its tree size."""

    origin: str
    policy_at: PolicyAt
    committed: int
    _derived: dict[int, Derived] = field(default_factory=dict)
    _votes: dict[int, dict[str, tuple[Cosignature, ...]]] = field(default_factory=dict)
    _early: dict[int, dict[str, Vote]] = field(default_factory=dict)

    def derived(self, height: int) -> Derived | None:
        """Return the derived block that waits at a height."""
        return self._derived.get(height)

    @property
    def waiting(self) -> int:
        """Number of derived blocks that are not committed."""
        return len(self._derived)

    @property
    def heights(self) -> list[int]:
        """Heights of the derived blocks that are not committed, rising."""
        return sorted(self._derived)

    def add_derived(self, derived: Derived) -> list[tuple[str, VoteOutcome]]:
        """Add a derived block and count the votes that came before it."""
        height = derived.block.header.height
        self._derived[height] = derived
        early = self._early.pop(height, {})
        return [(vote.node, self.add_vote(vote)) for vote in early.values()]

    def add_vote(self, vote: Vote) -> VoteOutcome:
        """Count a vote, or say why it does not count."""
        if vote.height <= self.committed:
            return VoteOutcome.LATE
        derived = self._derived.get(vote.height)
        if derived is None:
            return self._keep_early(vote)
        good = genuine_lines(self.origin, derived.policy, vote)
        if not good:
            return VoteOutcome.INVALID
        if (vote.tree_size, vote.root) != (derived.checkpoint.size, derived.checkpoint.root):
            return VoteOutcome.DIVERGENT
        votes = self._votes.setdefault(vote.height, {})
        if vote.node in votes:
            return VoteOutcome.REPEATED
        votes[vote.node] = good
        return VoteOutcome.COUNTED

    def _keep_early(self, vote: Vote) -> VoteOutcome:
        highest = max(self._derived, default=self.committed)
        if vote.height > highest + _EARLY_HEIGHTS or not self._is_genuine(vote):
            return VoteOutcome.INVALID
        self._early.setdefault(vote.height, {})[vote.node] = vote
        return VoteOutcome.EARLY

    def _is_genuine(self, vote: Vote) -> bool:
        return bool(genuine_lines(self.origin, self.policy_at(vote.tree_size), vote))

    def certificate(self, height: int) -> bytes | None:
        """Return the certificate of a derived block, or None while nodes are missing."""
        derived, votes = self._derived.get(height), self._votes.get(height, {})
        if derived is None or len(votes) < derived.policy.quorum:
            return None
        return assemble_certificate(derived.checkpoint, [c for lines in votes.values() for c in lines])

    def commit(self, height: int) -> None:
        """Forget a block that is committed."""
        self.committed = height
        self._derived.pop(height, None)
        self._votes.pop(height, None)
        self._early.pop(height, None)
