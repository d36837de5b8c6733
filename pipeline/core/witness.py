"""C2SP tlog-witness, add-checkpoint: the request's bytes and what an answer says. Owns no transport and no memory.

Answers come from outside: reading one never raises, and only cosignatures that verify come out of it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.core.checkpoint import Checkpoint
from pipeline.core.merkle import MAX_TREE_SIZE
from pipeline.core.note import Note, NoteProblem, NoteSignature, VerifierKey, open_note, parse_note

ADD_CHECKPOINT: Final = "add-checkpoint"
"""The call's path under a witness's submission prefix."""
MAX_PROOF_HASHES: Final = 63
MAX_ANSWER_BYTES: Final = 64 * 1024
"""Room for some post-quantum cosignatures; a longer answer is not read."""

_OK: Final = 200
_CONFLICT: Final = 409
_INCONSISTENT: Final = 422
_REFUSALS: Final = {400: "request_refused", 403: "signature_refused", 404: "unknown_log"}
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")


class WitnessOutcome(StrEnum):
    """What became of an add-checkpoint request."""

    COSIGNED = "cosigned"
    STALE = "stale"
    AHEAD = "ahead"
    FORK = "fork"
    REQUEST_REFUSED = "request_refused"
    SIGNATURE_REFUSED = "signature_refused"
    UNKNOWN_LOG = "unknown_log"
    BAD_ANSWER = "bad_answer"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """What a witness said: cosignatures where it cosigned, the size of its tree where ``old`` was another."""

    outcome: WitnessOutcome
    cosignatures: tuple[NoteSignature, ...] = ()
    size: int = 0


def encode_request(old: int, path: Sequence[bytes], note: bytes) -> bytes:
    """Return the body of a request: ``path`` proves that the checkpoint in ``note`` extends the tree of size ``old``.

    Raises:
        ValueError: the path is longer than a request may carry, or proves something of an empty tree.
    """
    if len(path) > (MAX_PROOF_HASHES if old else 0):
        raise ValueError("a consistency proof has at most 63 hashes, and none from an empty tree")
    lines = [f"old {old}", *(b64encode(node).decode() for node in path)]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + note


def read_answer(
    status: int, body: bytes, checkpoint: Checkpoint, old: int, keys: Sequence[VerifierKey]
) -> WitnessAnswer:
    """Say what the answer to a request for ``checkpoint`` from size ``old`` means. Total.

    ``old`` is what the witness said it has, or 0; ``keys`` are its own. Witnesses that are known to exist answer to
    another root of the same size with 409 without a size, or with 422; both are a fork here.
    """
    if status == _OK:
        return _cosigned(body, checkpoint, keys)
    if status == _CONFLICT:
        return _conflict(body, checkpoint, old)
    if status == _INCONSISTENT:
        # Every tree extends the empty one: without a proof nothing can be inconsistent.
        return WitnessAnswer(WitnessOutcome.FORK if old else WitnessOutcome.BAD_ANSWER)
    refusal = _REFUSALS.get(status)
    return WitnessAnswer(WitnessOutcome(refusal) if refusal else WitnessOutcome.AWAY)


def _cosigned(body: bytes, checkpoint: Checkpoint, keys: Sequence[VerifierKey]) -> WitnessAnswer:
    data = checkpoint.body() + b"\n" + body
    note = parse_note(data)
    opened = open_note(data, keys)
    if not isinstance(note, Note) or isinstance(opened, NoteProblem) or opened.text != checkpoint.body():
        return WitnessAnswer(WitnessOutcome.BAD_ANSWER)
    known = {(key.name, key.key_id) for key in keys}
    first_of: dict[tuple[str, bytes], NoteSignature] = {}
    for line in note.signatures:
        if (line.name, line.key_id) in known:
            first_of.setdefault((line.name, line.key_id), line)
    return WitnessAnswer(WitnessOutcome.COSIGNED, tuple(first_of.values()))


def _conflict(body: bytes, checkpoint: Checkpoint, old: int) -> WitnessAnswer:
    found = _SIZE.fullmatch(body)
    size = int(found[1]) if found else None
    if (size is None or size == old) and old == checkpoint.size:
        return WitnessAnswer(WitnessOutcome.FORK)
    if size is None or size == old or size > MAX_TREE_SIZE:
        return WitnessAnswer(WitnessOutcome.BAD_ANSWER)
    return WitnessAnswer(WitnessOutcome.AHEAD if size > checkpoint.size else WitnessOutcome.STALE, size=size)
