"""C2SP checkpoints: the three lines that state a tree, signing and cosigning them, and certificates.

A certificate is the signed note of a checkpoint and its cosignatures; whether the cosigners suffice is
``quorum``'s affair. Keys and times are arguments; bytes from outside never raise.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pipeline.core.keys import Algorithm
from pipeline.core.merkle import EMPTY_ROOT, HASH_BYTES, MAX_TREE_SIZE
from pipeline.core.note import (
    COSIGNATURE_V1,
    ED25519,
    MAX_TIMESTAMP,
    MLDSA44,
    SIGNATURE_TYPES,
    NoteSignature,
    VerifierKey,
    cosignature_message,
    decode_base64,
    format_note,
    is_name,
)
from pipeline.core.signing import Signer

__all__ = [
    "Checkpoint",
    "CheckpointProblem",
    "Cosignature",
    "assemble_certificate",
    "cosign",
    "cosignature_message",
    "parse_checkpoint",
    "sign_as_log",
    "verify_cosignature",
]

MAX_CHECKPOINT_BYTES: Final = 512
"""More than the longest origin, size and root take."""
COSIGNATURE_TYPES: Final[Mapping[Algorithm, int]] = MappingProxyType(
    {Algorithm.ED25519: COSIGNATURE_V1, Algorithm.MLDSA44: MLDSA44}
)
"""The signature type that a key of each algorithm cosigns with."""
_SIGNATURE_BYTES: Final = frozenset(
    SIGNATURE_TYPES[kind].signature_bytes for kind in COSIGNATURE_TYPES.values()
)
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class CheckpointProblem(StrEnum):
    """Why bytes are no checkpoint of ours."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_THREE_LINES = "not_three_lines"
    BAD_ORIGIN = "bad_origin"
    BAD_SIZE = "bad_size"
    BAD_ROOT = "bad_root"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The statement that the log ``origin`` has ``size`` leaves under ``root`` (32 bytes).

    Raises:
        ValueError: origin, size or root is not allowed.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        problem = _problem_of(self.origin, self.size, self.root)
        if problem is not None:
            raise ValueError(f"not a checkpoint: {problem}")

    def body(self) -> bytes:
        """Return the three lines of C2SP tlog-checkpoint; there are no extension lines."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n".encode()


@dataclass(frozen=True, slots=True, order=True)
class Cosignature:
    """A cosignature of a checkpoint; ``timestamp`` in seconds since 1970.

    ``signature`` has 64 bytes of Ed25519, or 2,420 of ML-DSA-44 (C2SP tlog-cosignature).

    Raises:
        ValueError: name, key id, time or signature is not allowed.
    """

    name: str
    key_id: bytes
    timestamp: int
    signature: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.timestamp <= MAX_TIMESTAMP or len(self.signature) not in _SIGNATURE_BYTES:
            raise ValueError("a cosignature has a time from 1970 on and 64 or 2420 bytes of signature")
        self.as_note_signature()

    def as_note_signature(self) -> NoteSignature:
        """Return the cosignature as a line of a signed note carries it."""
        return NoteSignature(self.name, self.key_id, self.timestamp.to_bytes(8, "big") + self.signature)


def parse_checkpoint(data: bytes) -> Checkpoint | CheckpointProblem:
    """Read a checkpoint's body; only the bytes that ``body`` writes are accepted."""
    if len(data) > MAX_CHECKPOINT_BYTES:
        return CheckpointProblem.TOO_LARGE
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        return CheckpointProblem.NOT_UTF8
    if len(lines) != 4 or lines[3]:
        return CheckpointProblem.NOT_THREE_LINES
    origin, size_text, root_text, _ = lines
    if not _SIZE.fullmatch(size_text):
        return CheckpointProblem.BAD_SIZE
    root = decode_base64(root_text)
    if root is None:
        return CheckpointProblem.BAD_ROOT
    size = int(size_text)
    return _problem_of(origin, size, root) or Checkpoint(origin, size, root)


def cosign(checkpoint: Checkpoint, name: str, signer: Signer, timestamp: int) -> Cosignature:
    """Cosign a checkpoint as ``name`` with an Ed25519 or ML-DSA-44 key, at ``timestamp`` seconds since 1970.

    Raises:
        ValueError: the name or the time is not allowed, or the key is of another algorithm.
    """
    algorithm = COSIGNATURE_TYPES.get(signer.public.algorithm)
    if algorithm is None or not 0 <= timestamp <= MAX_TIMESTAMP:
        raise ValueError("a cosigner's key is an Ed25519 or ML-DSA-44 one, and its time from 1970 on")
    key = VerifierKey(name, algorithm, signer.public.raw)
    message = SIGNATURE_TYPES[algorithm].message(name, timestamp, checkpoint.body())
    assert message is not None  # noqa: S101  a checkpoint's body always gives one
    return Cosignature(name, key.key_id, timestamp, signer.sign(message))


def verify_cosignature(checkpoint: Checkpoint, cosignature: Cosignature, key: VerifierKey) -> bool:
    """Say whether ``cosignature`` is the one of this key on ``checkpoint``."""
    if (key.name, key.key_id) != (cosignature.name, cosignature.key_id):
        return False
    return key.is_signature(cosignature.as_note_signature().signature, checkpoint.body())


def sign_as_log(checkpoint: Checkpoint, signer: Signer) -> NoteSignature:
    """Sign a checkpoint with the log's own Ed25519 key, whose name is the origin.

    Raises:
        ValueError: the key is not an Ed25519 one.
    """
    key = VerifierKey(checkpoint.origin, ED25519, signer.public.raw)
    return NoteSignature(key.name, key.key_id, signer.sign(checkpoint.body()))


def assemble_certificate(
    checkpoint: Checkpoint, cosignatures: Iterable[Cosignature], log_signature: NoteSignature | None = None
) -> bytes:
    """Return the signed note of a checkpoint: the log's signature if given, then the cosignatures in order.

    The order is by name, key id, time, signature; of several by one key only the first in it is kept, so that
    the same set gives the same bytes. The caller has verified them.

    Raises:
        ValueError: there is no signature at all, or there are more than a note may have.
    """
    first_of: dict[tuple[str, bytes], Cosignature] = {}
    for cosignature in sorted(cosignatures):
        first_of.setdefault((cosignature.name, cosignature.key_id), cosignature)
    lines = [] if log_signature is None else [log_signature]
    lines.extend(cosignature.as_note_signature() for cosignature in first_of.values())
    return format_note(checkpoint.body(), lines)


def _problem_of(origin: str, size: int, root: bytes) -> CheckpointProblem | None:
    if not is_name(origin):
        return CheckpointProblem.BAD_ORIGIN
    if not 0 <= size <= MAX_TREE_SIZE:
        return CheckpointProblem.BAD_SIZE
    if len(root) != HASH_BYTES or (size == 0) != (root == EMPTY_ROOT):
        return CheckpointProblem.BAD_ROOT
    return None
