"""Audit of an exported log: checkpoint, tiles and entry bundles against the hashes above them, then block by block.

From the top down, so that the first file named is the one that is wrong; the leaves make blocks again, which an
``Auditor`` checks like any other. Of the certificates an exported log has the last one alone, which vouches for all.
Memory is bounded by a path of tiles, a bundle and the blocks under way.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Final

from pipeline.core.block import MAX_CERTIFIED_BYTES
from pipeline.core.checkpoint import Checkpoint, CheckpointProblem, parse_checkpoint
from pipeline.core.genesis import Genesis
from pipeline.core.leaves import is_header
from pipeline.core.merkle import Frontier, root_of
from pipeline.core.note import NoteProblem, open_note
from pipeline.core.policy_file import log_verifier
from pipeline.core.quorum import CertificateProblem, CertificateReason, check_stated
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
from pipeline.services.audit import Auditor, audit
from pipeline.services.audit_report import AuditReport, Finding, Leaf, Source, WrongError, misplaced_leaf
from pipeline.services.audit_sources import WINDOW_BLOCKS
from pipeline.services.follower import in_thread

Read = Callable[[str], bytes]
"""Gives the bytes under a path of the log; none where there is no such file."""

_MAX_LEAVES: Final = 100_001
"""More than any contract lets into a block."""
_LENGTH_BYTES: Final = 2


class TileAudit:
    """One exported log. ``open`` comes first; what was wrong then, ``run`` reports."""

    def __init__(self, genesis: Genesis, read: Read) -> None:
        self._genesis = genesis
        self._read = read
        self._note = b""
        self._tree: Checkpoint | None = None
        self._finding: Finding | None = None

    def open(self) -> int:
        """Read and check the checkpoint; return the number of leaves that it states, 0 where it is no good.

        Whether enough nodes stand behind it is told last: who they are may have been changed by the leaves below it.

        Raises:
            TransientError: the log is away.
        """
        try:
            self._note = self._read(CHECKPOINT)
            self._tree = _checkpoint(self._genesis, self._note)
        except WrongError as error:
            self._finding = error.finding
            return 0
        return self._tree.size

    async def run(self, auditor: Auditor, progress: Callable[[int], None]) -> AuditReport:
        """Audit the log from where the auditor stands; ``progress`` hears of leaves.

        Raises:
            TransientError: the log, a helper or the disk are away.
        """
        report, tree = auditor.report, self._tree
        if tree is None:
            report.finding = self._finding
            return report
        heard = report.tree_size
        if tree.size < heard:
            detail = f"a tree of {tree.size} leaves, fewer than the {heard} audited before"
            report.finding = _wrong(CHECKPOINT, detail)
            return report

        def settled(_blocks: int) -> None:
            nonlocal heard
            progress(report.tree_size - heard)
            heard = report.tree_size

        report = await audit(auditor, self._windows(tree, report.tree_size), settled)
        if report.finding is None and (report.tree_size, report.root) != (tree.size, tree.root):
            report.finding = _wrong(CHECKPOINT, "is not of the tree that was audited before")
        if report.finding is None:
            certified = check_stated(self._note, self._genesis.origin, auditor.state.policy_at)
            if isinstance(certified, CertificateProblem):
                report.finding = _wrong(CHECKPOINT, f"{certified.reason.value}: {certified.detail}")
            else:
                report.certified_by = certified.signers
        return report

    async def _windows(self, tree: Checkpoint, start: int) -> AsyncIterator[list[Source]]:
        windows = _windows(_blocks(_bundles(tree, self._read, start), start))
        while (window := await in_thread(partial(next, windows, None))) is not None:
            yield window


def _windows(blocks: Iterator[Source]) -> Iterator[list[Source]]:
    """Yield blocks some at a time; those before something wrong come first."""
    window: list[Source] = []
    try:
        for source in blocks:
            window.append(source)
            if len(window) >= WINDOW_BLOCKS:
                yield window
                window = []
    except WrongError:
        if window:
            yield window
        raise
    if window:
        yield window


def _blocks(bundles: Iterator[list[tuple[bytes, Leaf]]], start: int) -> Iterator[Source]:
    """Put leaves together to blocks, each up to its header."""
    data: list[bytes] = []
    places: list[Leaf] = []
    size = 0
    for bundle in bundles:
        for leaf, place in bundle:
            data.append(leaf)
            places.append(place)
            size += len(leaf)
            if is_header(leaf):
                yield Source(place.file, tuple(data), position=start, leaves=tuple(places))
                start += len(data)
                data, places, size = [], [], 0
            elif size > MAX_CERTIFIED_BYTES or len(data) > _MAX_LEAVES:
                raise WrongError(misplaced_leaf(data, places) or _headless(places, "exceed any block"))
    if data:
        raise WrongError(misplaced_leaf(data, places) or _headless(places, "are the last ones"))


def _headless(places: list[Leaf], why: str) -> Finding:
    first, last = places[0], places[-1]
    detail = f"leaves {first.index} to {last.index} have no block's header after them, and {why}"
    return _wrong(first.file, detail)


def _checkpoint(genesis: Genesis, note: bytes) -> Checkpoint:
    if not note:
        raise WrongError(_wrong(CHECKPOINT, "missing"))
    opened = open_note(note, [log_verifier(genesis)])
    if isinstance(opened, NoteProblem):
        raise WrongError(_wrong(CHECKPOINT, f"the log's signature: {opened.value}"))
    checkpoint = parse_checkpoint(opened.text)
    if isinstance(checkpoint, CheckpointProblem):
        raise WrongError(_wrong(CHECKPOINT, f"{CertificateReason.BAD_CHECKPOINT.value}: {checkpoint.value}"))
    if checkpoint.origin != genesis.origin:
        detail = f"{checkpoint.origin} is not {genesis.origin}"
        raise WrongError(_wrong(CHECKPOINT, f"{CertificateReason.WRONG_ORIGIN.value}: {detail}"))
    return checkpoint


def _bundles(tree: Checkpoint, read: Read, start: int) -> Iterator[list[tuple[bytes, Leaf]]]:
    """Yield the leaves from ``start`` on, a bundle at a time, each with its place and its hash in the tree."""
    size, levels = tree.size, levels_of(tree.size)
    rows = [_row(read, size, level) for level in range(levels)]
    peaks = (peak for row in reversed(rows) for peak in Frontier.EMPTY.extend(row).peaks)
    if Frontier(size, tuple(peaks)).root() != tree.root:
        names = " ".join(_edge_tile(size, level).path for level, row in enumerate(rows) if row)
        raise WrongError(_wrong(CHECKPOINT, f"its root is not that of the partial tiles {names}"))
    for level in reversed(range(1, levels)):  # the higher a row, the further left are its leaves
        first = _edge_tile(size, level).index * TILE_WIDTH if rows[level] else 0
        for number, expected in enumerate(rows[level]):
            yield from _under(read, level - 1, first + number, expected, start)
    if rows and rows[0] and size > start:
        yield _bundle(read, TileId(ENTRIES, size // TILE_WIDTH, len(rows[0])), rows[0], start)


def _under(
    read: Read, level: int, index: int, expected: bytes, start: int
) -> Iterator[list[tuple[bytes, Leaf]]]:
    """Yield the bundles under a full tile, of whose hashes ``expected`` is the root."""
    if (index + 1) << TILE_LEVELS * (level + 1) <= start:
        return
    tile = TileId(level, index)
    hashes = _tile(read, tile)
    if root_of(hashes) != expected:
        raise WrongError(_wrong(tile.path, f"its hashes do not give hash {index} of level {level + 1}"))
    if level == 0:
        yield _bundle(read, TileId(ENTRIES, index), hashes, start)
        return
    for number, below in enumerate(hashes):
        yield from _under(read, level - 1, index * TILE_WIDTH + number, below, start)


def _edge_tile(size: int, level: int) -> TileId:
    return TileId(level, size >> TILE_LEVELS * (level + 1), partial_width(level, size))


def _row(read: Read, size: int, level: int) -> tuple[bytes, ...]:
    """Return the hashes of a level that are in no full tile."""
    return _tile(read, _edge_tile(size, level)) if partial_width(level, size) else ()


def _tile(read: Read, tile: TileId) -> tuple[bytes, ...]:
    content = read(tile.path)
    hashes = decode_tile(content)
    if not content:
        raise WrongError(_wrong(tile.path, "missing"))
    if hashes is None or len(hashes) != tile.width:
        raise WrongError(_wrong(tile.path, f"{len(content)} bytes are not {tile.width} hashes"))
    return hashes


def _bundle(read: Read, bundle: TileId, hashes: tuple[bytes, ...], start: int) -> list[tuple[bytes, Leaf]]:
    content = read(bundle.path)
    entries = decode_bundle(content)
    if not content:
        raise WrongError(_wrong(bundle.path, "missing"))
    if entries is None or len(entries) != bundle.width:
        raise WrongError(_wrong(bundle.path, f"{len(content)} bytes are not {bundle.width} entries"))
    found: list[tuple[bytes, Leaf]] = []
    at, index = _LENGTH_BYTES, bundle.index * TILE_WIDTH
    for entry, expected in zip(entries, hashes, strict=True):
        if index >= start:
            found.append((entry, Leaf(bundle.path, index, at, expected)))
        at, index = at + len(entry) + _LENGTH_BYTES, index + 1
    return found


def _wrong(file: str, detail: str) -> Finding:
    return Finding(file, 0, "tree", detail)
