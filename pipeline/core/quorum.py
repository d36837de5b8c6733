"""Who must have cosigned: the node policy, and checking a certificate against it.

One node has one voice, however many keys it holds and however often it signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pipeline.core.checkpoint import (
    COSIGNATURE_TYPES,
    MAX_CHECKPOINT_BYTES,
    Checkpoint,
    CheckpointProblem,
    Cosignature,
    parse_checkpoint,
    verify_cosignature,
)
from pipeline.core.errors import ConfigError
from pipeline.core.keys import key_problem
from pipeline.core.note import (
    COSIGNATURE_V1,
    MAX_SIGNATURES,
    SIGNATURE_TYPES,
    TIMESTAMP_BYTES,
    NoteProblem,
    NoteSignature,
    VerifierKey,
    is_name,
    open_note,
    parse_note,
)

MAX_NODE_KEYS: Final = MAX_SIGNATURES // 2
"""Keys in a policy; the other half of a note's lines stays free for the log and outside witnesses."""
_KEY_ALGORITHM: Final = {kind: algorithm for algorithm, kind in COSIGNATURE_TYPES.items()}


class PolicyProblem(StrEnum):
    """Why a set of node keys and a quorum are no policy."""

    QUORUM_OUT_OF_RANGE = "quorum_out_of_range"
    QUORUM_NOT_A_MAJORITY = "quorum_not_a_majority"
    TOO_MANY_KEYS = "too_many_keys"
    SHARED_KEY = "shared_key"
    SHARED_NAME = "shared_name"


class CertificateReason(StrEnum):
    """Why a certificate is refused; ``CertificateProblem.detail`` says more."""

    BAD_NOTE = "bad_note"
    BAD_CHECKPOINT = "bad_checkpoint"
    WRONG_ORIGIN = "wrong_origin"
    TOO_FEW_NODES = "too_few_nodes"


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A cosigning key of an accounting node.

    ``name`` is the key's name in signature lines, ``node`` the node that it speaks for (the name, if not
    given), and ``algorithm`` a timestamped type of ``note.SIGNATURE_TYPES``.

    Raises:
        ConfigError: name, algorithm or key is not allowed (code ``node_key``).
    """

    name: str
    public_key: bytes
    node: str = ""
    algorithm: int = COSIGNATURE_V1
    verifier: VerifierKey = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "node", self.node or self.name)
        problem = node_key_problem(self.name, self.public_key, self.algorithm)
        if problem is None and not is_name(self.node):
            problem = "a node's name is 1 to 255 bytes without spaces and plus signs"
        if problem is not None:
            raise ConfigError(f"key of accounting node {self.name!r}: {problem}", code="node_key")
        object.__setattr__(self, "verifier", VerifierKey(self.name, self.algorithm, self.public_key))

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that name this key in signature lines."""
        return self.verifier.key_id


@dataclass(frozen=True, slots=True)
class Policy:
    """The accounting nodes' keys and how many nodes must agree (k of n, 2k > n).

    Raises:
        ConfigError: nodes and quorum do not make a policy (code is the ``PolicyProblem``).
    """

    nodes: tuple[NodeKey, ...]
    quorum: int

    def __post_init__(self) -> None:
        problem = policy_problem(self.nodes, self.quorum)
        if problem is not None:
            raise ConfigError(f"node policy: {problem.replace('_', ' ')}", code=problem)

    @property
    def node_names(self) -> tuple[str, ...]:
        """The distinct nodes, sorted."""
        return tuple(sorted({key.node for key in self.nodes}))


@dataclass(frozen=True, slots=True)
class Certified:
    """What a good certificate states.

    ``signers`` are the distinct nodes that cosigned, sorted; ``timestamps`` each one's earliest cosignature
    time, in seconds since 1970, in the same order.
    """

    checkpoint: Checkpoint
    signers: tuple[str, ...]
    timestamps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CertificateProblem:
    """Why a certificate is refused; ``detail`` is for people."""

    reason: CertificateReason
    detail: str


PolicyAt = Callable[[int], Policy]
"""The policy that certifies the block which ends at a tree size."""


def certificate_room(policy: Policy) -> int:
    """Return how many bytes a certificate with a signature of every key of ``policy`` takes at most."""
    room = MAX_CHECKPOINT_BYTES + 1
    for key in policy.nodes:
        bare = SIGNATURE_TYPES[key.algorithm].signature_bytes
        room += len(NoteSignature(key.name, key.key_id, bytes(TIMESTAMP_BYTES + bare)).line.encode())
    return room


def tolerated_faults(nodes: int, quorum: int) -> int:
    """Return how many of n nodes may lie without a fork: the largest f with 2k > n + f."""
    return 2 * quorum - nodes - 1


def node_key_problem(name: str, public_key: bytes, algorithm: int = COSIGNATURE_V1) -> str | None:
    """Return why a node's key is refused, or None for a good one."""
    kind = SIGNATURE_TYPES.get(algorithm)
    if kind is None or not kind.timestamped:
        return f"signature type {algorithm} is no cosignature"
    try:
        VerifierKey(name, algorithm, public_key)
    except ValueError as problem:
        return str(problem)
    return key_problem(_KEY_ALGORITHM[algorithm], public_key)


def policy_problem(nodes: tuple[NodeKey, ...], quorum: int) -> PolicyProblem | None:
    """Return why these keys and this quorum are no policy, or None for a good one."""
    count = len({key.node for key in nodes})
    if not 1 <= quorum <= count:
        return PolicyProblem.QUORUM_OUT_OF_RANGE
    if tolerated_faults(count, quorum) < 0:
        return PolicyProblem.QUORUM_NOT_A_MAJORITY
    if len(nodes) > MAX_NODE_KEYS:
        return PolicyProblem.TOO_MANY_KEYS
    if len({key.public_key for key in nodes}) < len(nodes):
        return PolicyProblem.SHARED_KEY
    # A node's keys of several algorithms share its name, which then is no other node's.
    owners = {key.name: key.node for key in nodes}
    is_shared = len({(key.name, key.algorithm) for key in nodes}) < len(nodes)
    is_shared |= any(owners[key.name] != key.node for key in nodes)
    return PolicyProblem.SHARED_NAME if is_shared else None


def cosigner_of(checkpoint: Checkpoint, cosignature: Cosignature, policy: Policy) -> str | None:
    """Return the node of ``policy`` that made this cosignature on this checkpoint, or None if none did."""
    for key in policy.nodes:
        if key.name == cosignature.name and key.key_id == cosignature.key_id:
            return key.node if verify_cosignature(checkpoint, cosignature, key.verifier) else None
    return None


def check_certificate(certificate: bytes, origin: str, policy: Policy) -> Certified | CertificateProblem:
    """Check that enough nodes of ``policy`` cosigned a checkpoint of ``origin``.

    Signatures of unknown keys are ignored, a bad one of a known key refuses the certificate, and further
    signatures of a node that already counted add nothing.
    """
    opened = open_note(certificate, (key.verifier for key in policy.nodes))
    if isinstance(opened, NoteProblem):
        return CertificateProblem(CertificateReason.BAD_NOTE, opened)
    checkpoint = parse_checkpoint(opened.text)
    if isinstance(checkpoint, CheckpointProblem):
        return CertificateProblem(CertificateReason.BAD_CHECKPOINT, checkpoint)
    if checkpoint.origin != origin:
        return CertificateProblem(CertificateReason.WRONG_ORIGIN, f"{checkpoint.origin} is not {origin}")
    node_of = {key.verifier: key.node for key in policy.nodes}
    earliest: dict[str, int] = {}
    for signature in opened.verified:
        node, time = node_of[signature.key], signature.timestamp
        earliest[node] = min(time, earliest.get(node, time))
    if len(earliest) < policy.quorum:
        detail = f"{len(earliest)} of the {policy.quorum} nodes needed"
        return CertificateProblem(CertificateReason.TOO_FEW_NODES, detail)
    signers = tuple(sorted(earliest))
    return Certified(checkpoint, signers, tuple(earliest[node] for node in signers))


def check_stated(certificate: bytes, origin: str, policy_at: PolicyAt) -> Certified | CertificateProblem:
    """Check a certificate under the policy of the tree size that it states, whatever block it is attached to."""
    note = parse_note(certificate)
    if isinstance(note, NoteProblem):
        return CertificateProblem(CertificateReason.BAD_NOTE, note)
    checkpoint = parse_checkpoint(note.text)
    if isinstance(checkpoint, CheckpointProblem):
        return CertificateProblem(CertificateReason.BAD_CHECKPOINT, checkpoint)
    return check_certificate(certificate, origin, policy_at(checkpoint.size))
