"""Tiles, entry bundles and the checkpoint on a file system, as C2SP tlog-tiles names them.

Each file appears under its name whole, by a rename; the checkpoint last, when everything that it speaks of is on the
disk. Writing the same again changes nothing, so an export can be taken up again from any point.
"""

import os
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from pipeline.core.errors import TransientError
from pipeline.core.note import MAX_NOTE_BYTES
from pipeline.core.tiles import (
    CHECKPOINT,
    ENTRIES,
    MAX_ENTRY_BYTES,
    TILE_LEVELS,
    TILE_WIDTH,
    Edge,
    TileId,
    decode_bundle,
    decode_tile,
    levels_of,
    partial_width,
)
from pipeline.core.tlog_policy import POLICY_FILE

MAX_FILE_BYTES: Final = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
"""The largest bundle there can be."""
_DRAFT: Final = ".draft"
_BATCH_FILES: Final = 32
_SYNCING: Final = 8
"""Files that are waited for side by side; a disk writes many in the time of one."""
_TILES: Final = "tile"
_FOLDER_MODE: Final = 0o755


class TileFiles:
    """The files of one exported log. One process at a time writes to a folder; its owner sees to that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._full: list[TileId] = []
        self._renamed: set[Path] = set()

    def read_edge(self, size: int) -> Edge | None:
        """Return the right edge of the tree of ``size`` leaves, or None where it is damaged or not there.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        rows: list[tuple[bytes, ...]] = []
        for level in range(levels_of(size)):
            width = partial_width(level, size)
            index = size >> TILE_LEVELS * (level + 1)
            row = decode_tile(self.read(TileId(level, index, width).path)) if width else ()
            if row is None:
                return None
            rows.append(row)
        width = partial_width(0, size)
        path = TileId(ENTRIES, size // TILE_WIDTH, width).path if width else None
        entries = decode_bundle(self.read(path)) if path is not None else ()
        try:
            return Edge(size, entries or (), tuple(rows))
        except ValueError:
            return None

    def write(self, tiles: Iterable[tuple[TileId, bytes]]) -> None:
        """Write bundles and tiles; full ones are never replaced by other bytes than whole ones.

        They appear in the order given, some at a time, because waiting for the disk once is waiting long enough.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        each = iter(tiles)
        while batch := list(islice(each, _BATCH_FILES)):
            self._put_all([(tile.path, content) for tile, content in batch])
            self._full += [tile for tile, _ in batch if tile.is_full]

    def read_checkpoint(self) -> bytes:
        """Return the checkpoint's note; empty where there is none.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        return self.read(CHECKPOINT, MAX_NOTE_BYTES + 1)

    def write_checkpoint(self, note: bytes) -> None:
        """Make everything written durable, then put the checkpoint in its place.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        self._sync_folders()
        self._put_all([(CHECKPOINT, note)])
        self._sync_folders()

    def write_policy(self, policy: bytes) -> None:
        """Put the auditors' policy beside the checkpoint.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        self._put_all([(POLICY_FILE, policy)])

    def prune(self, kept: Collection[str] = ()) -> None:
        """Remove the partial forms of what became full, but for paths in ``kept``; clients ask for the full one then.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        with _disk_errors():
            self._full = [tile for tile in self._full if not self._without_partials(tile, kept)]

    def remove_others(self, kept: Container[str]) -> int:
        """Remove bundles and tiles whose paths are not in ``kept``; return how many.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        with _disk_errors():
            found = [path for path in (self._folder / _TILES).rglob("*") if path.is_file()]
            others = [path for path in found if path.relative_to(self._folder).as_posix() not in kept]
            for path in others:
                path.unlink()
        return len(others)

    def read(self, path: str, limit: int = MAX_FILE_BYTES + 1) -> bytes:
        """Return the content of a file of the log, at most ``limit`` bytes; empty where there is none.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        with _disk_errors():
            try:
                with (self._folder / path).open("rb") as file:
                    return file.read(limit)
            except (FileNotFoundError, NotADirectoryError):
                return b""

    def _without_partials(self, tile: TileId, kept: Collection[str]) -> bool:
        """Remove the partial forms of a full tile that need not stay; say whether all are gone."""
        folder = self._folder / tile.partials_path
        if not folder.is_dir():
            return True
        for path in folder.iterdir():
            if f"{tile.partials_path}/{path.name}" not in kept:
                path.unlink()
        if any(folder.iterdir()):
            return False
        folder.rmdir()
        return True

    def _put_all(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Give files their contents: all are on the disk before the first gets its name."""
        new = [(path, content) for path, content in files if self.read(path, len(content) + 1) != content]
        drafts = [self._folder / f"{_DRAFT}-{number}" for number in range(len(new))]
        with _disk_errors():
            for draft, (path, content) in zip(drafts, new, strict=True):
                self._make_folder((self._folder / path).parent)
                draft.write_bytes(content)
            with ThreadPoolExecutor(_SYNCING) as pool:
                list(pool.map(_sync, drafts))
            for draft, (path, _) in zip(drafts, new, strict=True):
                draft.replace(self._folder / path)
                self._renamed.add((self._folder / path).parent)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder; its parents' entries are made durable with the files."""
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        # Up to the log's own folder: any of them may be new.
        while folder != self._folder:
            folder = folder.parent
            self._renamed.add(folder)

    def _sync_folders(self) -> None:
        with _disk_errors():
            for folder in self._renamed:
                if folder.is_dir():
                    _sync(folder)
        self._renamed.clear()


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn the system's refusals into ours."""
    try:
        yield
    except OSError as error:
        raise TransientError(f"the disk refuses: {error}", code="disk") from error
