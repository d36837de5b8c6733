"""C2SP tlog-proof: the text that proves offline that an entry is in a log which others have witnessed.

Owns the lines and nothing of their meaning: the checkpoint stays a signed note that nobody has opened, the extra line
opaque bytes. Bytes from outside never raise.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.core.merkle import HASH_BYTES, MAX_TREE_SIZE
from pipeline.core.note import decode_base64

SUFFIX: Final = ".tlog-proof"
MAX_TLOG_PROOF_BYTES: Final = 4 * 1024 * 1024
"""Room for the largest genesis file, packet and note, each in base64 twice."""
MAX_PATH: Final = 63
"""Hashes of the longest inclusion path there can be."""
_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")


class TlogProofProblem(StrEnum):
    """Why bytes are no tlog-proof."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NO_CHECKPOINT = "no_checkpoint"
    BAD_FIRST_LINE = "bad_first_line"
    BAD_EXTRA = "bad_extra"
    BAD_INDEX = "bad_index"
    BAD_HASH = "bad_hash"


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An entry's index and inclusion path (lowest first), the checkpoint's note, and extra data (None: no such line).

    Raises:
        ValueError: index or path are out of bounds, or extra data are empty.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_TREE_SIZE or self.extra == b"":
            raise ValueError("a proof has an index from 0 on, and extra data where it has such a line")
        if len(self.path) > MAX_PATH or any(len(item) != HASH_BYTES for item in self.path):
            raise ValueError(f"a path has at most {MAX_PATH} hashes of {HASH_BYTES} bytes")

    def encode(self) -> bytes:
        """Return the text."""
        lines = [_FIRST_LINE]
        if self.extra is not None:
            lines.append(_EXTRA + b64encode(self.extra).decode())
        lines.append(f"index {self.index}")
        lines += [b64encode(item).decode() for item in self.path]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint


def parse_tlog_proof(data: bytes) -> TlogProof | TlogProofProblem:
    """Read a proof; only the bytes that ``encode`` writes are accepted. Total."""
    if len(data) > MAX_TLOG_PROOF_BYTES:
        return TlogProofProblem.TOO_LARGE
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank or not checkpoint:
        return TlogProofProblem.NO_CHECKPOINT
    try:
        first, *lines = head.decode().split("\n")
    except UnicodeDecodeError:
        return TlogProofProblem.NOT_UTF8
    if first != _FIRST_LINE:
        return TlogProofProblem.BAD_FIRST_LINE
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        extra = decode_base64(lines.pop(0).removeprefix(_EXTRA))
        if not extra:
            return TlogProofProblem.BAD_EXTRA
    index = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if index is None or int(index[1]) >= MAX_TREE_SIZE:
        return TlogProofProblem.BAD_INDEX
    path = tuple(item for item in map(decode_base64, lines) if item is not None and len(item) == HASH_BYTES)
    if len(path) < len(lines) or len(path) > MAX_PATH:
        return TlogProofProblem.BAD_HASH
    return TlogProof(int(index[1]), path, checkpoint, extra)
