"""Audit of an exported log: checkpoint, every tile and every entry, each against the hash above it.

From the top down, so that the first file named is the one that is wrong. It checks the tree and who certified it;
what the entries say (links, admission) is checked where whole blocks with certificates are, by ``audit``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.core.genesis import Genesis
from pipeline.core.merkle import Frontier, leaf_hash, root_of
from pipeline.core.note import NoteProblem, open_note
from pipeline.core.policy_file import log_verifier
from pipeline.core.quorum import CertificateProblem, Certified, check_certificate
from pipeline.core.tiles import (
    CHECKPOINT,
    ENTRIES,
    TILE_LEVELS,
    TILE_WIDTH,
    TileId,
    decode_bundle,
    decode_tile,
    levels_of,
    partial_width,
)

Read = Callable[[str], bytes]
"""Gives the bytes under a path of the log; none where there is no such file."""


@dataclass(frozen=True, slots=True)
class TileFinding:
    """What is wrong first: the file by its path in the log, and what it is."""

    file: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.detail}"


@dataclass(frozen=True, slots=True)
class TileReport:
    """What an audit of a log saw; ``certified`` is None where the checkpoint is no good."""

    certified: Certified | None
    finding: TileFinding | None

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        found = self.finding
        document: dict[str, Any] = {"good": found is None}
        if self.certified is not None:
            tree = self.certified.checkpoint
            document |= {
                "tree_size": tree.size,
                "root": tree.root.hex(),
                "nodes": list(self.certified.signers),
            }
        return document | ({} if found is None else {"finding": {"file": found.file, "detail": found.detail}})


class _WrongError(Exception):
    """Carries the first finding out of the descent."""

    def __init__(self, file: str, detail: str) -> None:
        super().__init__(detail)
        self.finding = TileFinding(file, detail)


def audit_tiles(genesis: Genesis, read: Read, done: Callable[[int], None]) -> TileReport:
    """Check an exported log of a chain; ``done`` hears of every bundle, as a number of entries.

    Raises:
        TransientError: as ``read`` raises it.
    """
    certified: Certified | None = None
    try:
        certified = _checkpoint(genesis, read(CHECKPOINT))
        _descend(certified, read, done)
    except _WrongError as wrong:
        return TileReport(certified, wrong.finding)
    return TileReport(certified, None)


def _checkpoint(genesis: Genesis, note: bytes) -> Certified:
    if not note:
        raise _WrongError(CHECKPOINT, "missing")
    opened = open_note(note, [log_verifier(genesis)])
    if isinstance(opened, NoteProblem):
        raise _WrongError(CHECKPOINT, f"the log's signature: {opened.value}")
    certified = check_certificate(note, genesis.origin, genesis.policy)
    if isinstance(certified, CertificateProblem):
        raise _WrongError(CHECKPOINT, f"{certified.reason.value}: {certified.detail}")
    return certified


def _descend(certified: Certified, read: Read, done: Callable[[int], None]) -> None:
    size, levels = certified.checkpoint.size, levels_of(certified.checkpoint.size)
    rows = [_row(read, size, level) for level in range(levels)]
    peaks = (peak for row in reversed(rows) for peak in Frontier.EMPTY.extend(row).peaks)
    if Frontier(size, tuple(peaks)).root() != certified.checkpoint.root:
        partial = [level for level, row in enumerate(rows) if row]
        names = " ".join(_edge_tile(size, level).path for level in partial)
        raise _WrongError(CHECKPOINT, f"its root is not that of the partial tiles {names}")
    above: list[bytes] = []
    for level in reversed(range(1, levels)):
        hashes: list[bytes] = []
        for index, expected in enumerate(above):
            hashes += _full_tile(read, level, index, expected)
        above = [*hashes, *rows[level]]
    for index, expected in enumerate(above):
        _bundle(read, TileId(ENTRIES, index), _full_tile(read, 0, index, expected))
        done(TILE_WIDTH)
    if rows and rows[0]:
        _bundle(read, TileId(ENTRIES, size // TILE_WIDTH, len(rows[0])), rows[0])
        done(len(rows[0]))


def _edge_tile(size: int, level: int) -> TileId:
    return TileId(level, size >> TILE_LEVELS * (level + 1), partial_width(level, size))


def _row(read: Read, size: int, level: int) -> tuple[bytes, ...]:
    """Return the hashes of a level that are in no full tile."""
    return _tile(read, _edge_tile(size, level)) if partial_width(level, size) else ()


def _full_tile(read: Read, level: int, index: int, expected: bytes) -> tuple[bytes, ...]:
    tile = TileId(level, index)
    hashes = _tile(read, tile)
    if root_of(hashes) != expected:
        raise _WrongError(tile.path, f"its hashes do not give hash {index} of level {level + 1}")
    return hashes


def _tile(read: Read, tile: TileId) -> tuple[bytes, ...]:
    content = read(tile.path)
    hashes = decode_tile(content)
    if not content:
        raise _WrongError(tile.path, "missing")
    if hashes is None or len(hashes) != tile.width:
        raise _WrongError(tile.path, f"{len(content)} bytes are not {tile.width} hashes")
    return hashes


def _bundle(read: Read, bundle: TileId, hashes: tuple[bytes, ...]) -> None:
    content = read(bundle.path)
    entries = decode_bundle(content)
    if not content:
        raise _WrongError(bundle.path, "missing")
    if entries is None or len(entries) != bundle.width:
        raise _WrongError(bundle.path, f"{len(content)} bytes are not {bundle.width} entries")
    at = 0
    for number, (entry, expected) in enumerate(zip(entries, hashes, strict=True)):
        if leaf_hash(entry) != expected:
            leaf = bundle.index * TILE_WIDTH + number
            raise _WrongError(
                bundle.path, f"leaf {leaf}, bytes {at} to {at + len(entry) + 1}: not the entry in the tree"
            )
        at += len(entry) + 2
