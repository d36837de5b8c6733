"""Append-only store of a Merkle tree's complete nodes: one flat file of 32-byte hashes per level.

``level0.bin`` holds the leaf hashes, ``levelN.bin`` the complete subtrees of ``2**N`` leaves, in order. What lies
beyond the size that the owner recorded is the rest of an append that never counted; opening cuts it off. The
content is trusted only as far as the owner compares a root. One program at a time has a folder open; its owner
sees to that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.core.errors import ConflictError, IntegrityError, TransientError
from pipeline.core.merkle import HASH_BYTES, Frontier, consistency_path, inclusion_path

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


class HashFiles:
    """The stored tree; made by ``HashFiles.open``.

    Appended hashes are safe from power loss after ``sync``; call it before recording the new size anywhere.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[int] = []
        self._frontier = Frontier.EMPTY
        self._unsynced: set[int] = set()

    @classmethod
    def open(cls, folder: Path, size: int) -> Self:
        """Open the store in ``folder`` at ``size`` leaves, the size last recorded; create what is missing.

        Raises:
            ConflictError: the files hold less than that (code ``tree_short``); open at 0 and append all again.
            TransientError: the disk refuses (code ``disk``).
        """
        store = cls(folder)
        try:
            with _disk_errors():
                folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
                while len(store._files) < size.bit_length() or store._path(len(store._files)).exists():
                    store._open_level()
                    store._cut(len(store._files) - 1, size)
            store._frontier = Frontier.read(size, store._read)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def frontier(self) -> Frontier:
        """The frontier of the whole stored tree."""
        return self._frontier

    @property
    def size(self) -> int:
        """Number of leaves stored."""
        return self._frontier.size

    def append(self, leaf_hashes: Iterable[bytes]) -> Frontier:
        """Store these leaf hashes and all nodes that they complete; return the new frontier.

        A failed append leaves the tree at its old size and can be repeated.

        Raises:
            TransientError: the disk refuses (code ``disk``).
            ValueError: a hash is not 32 bytes.
        """
        frontier, rows = self._frontier.grow(leaf_hashes)
        with _disk_errors():
            for level, row in enumerate(rows):
                if level == len(self._files):
                    self._open_level()
                self._unsynced.add(level)
                _write_at(self._files[level], b"".join(row), (self.size >> level) * HASH_BYTES)
        self._frontier = frontier
        return frontier

    def sync(self) -> None:
        """Return once everything appended is on the disk.

        Raises:
            ConflictError: the disk lost some of it (code ``tree_unsynced``); open again at the recorded size.
        """
        try:
            for level in self._unsynced:
                os.fsync(self._files[level])
        except OSError as error:  # asking again would succeed without the lost pages being written
            message = f"{self._folder} could not be synced: {error}"
            raise ConflictError(message, code="tree_unsynced") from error
        self._unsynced.clear()

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of the complete subtree of ``2**level`` leaves at ``index``.

        Raises:
            ValueError: the stored tree has no such complete subtree.
            IntegrityError: the file was shortened from outside (code ``tree_damaged``).
        """
        if level < 0 or not 0 <= index < self.size >> level:
            raise ValueError(f"a tree of {self.size} leaves has no node {index} at level {level}")
        return self._read(level, index)

    def root(self, size: int) -> bytes:
        """Return the root over the first ``size`` leaves."""
        return Frontier.read(size, self.node).root()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the audit path of leaf ``index`` in the tree of the first ``size`` leaves."""
        return inclusion_path(index, size, self.node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the tree of the first ``new`` leaves extends that of the first ``old``."""
        return consistency_path(old, new, self.node)

    def close(self) -> None:
        """Close the files. Hashes that were not synced survive the program, but not a power loss."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _path(self, level: int) -> Path:
        return self._folder / f"level{level}.bin"

    def _open_level(self) -> None:
        """Open or create the file of the next level up, durably."""
        path = self._path(len(self._files))
        self._files.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _cut(self, level: int, size: int) -> None:
        """Bring one level's file to what a tree of ``size`` leaves has."""
        file, wanted = self._files[level], (size >> level) * HASH_BYTES
        held = os.fstat(file).st_size
        if held < wanted:
            message = f"{self._path(level)} holds {held} of the {wanted} bytes of a tree of {size} leaves"
            raise ConflictError(message, code="tree_short")
        if held > wanted:
            os.ftruncate(file, wanted)
            self._unsynced.add(level)

    def _read(self, level: int, index: int) -> bytes:
        with _disk_errors():
            found = os.pread(self._files[level], HASH_BYTES, index * HASH_BYTES)
        if len(found) != HASH_BYTES:
            raise IntegrityError(f"{self._path(level)} was shortened", code="tree_damaged")
        return found


def _write_at(file: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` at ``offset``; the system may take it in parts."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn the system's refusals into ours."""
    try:
        yield
    except OSError as error:
        raise TransientError(f"the disk refuses: {error}", code="disk") from error
