"""Faults of a process's disk: system calls that fail with or without effect, and power loss.

A power loss undoes what was not made durable: bytes of a file until it was synced, a rename or a new folder until
the folder around it was synced. Of those, any may survive.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from errno import EIO
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.write_faults import Process


@dataclass(frozen=True)
class _Pending:
    """An effect on ``path`` that is not durable before ``until`` is synced, and how to take it back."""

    path: Path
    until: Path
    undo: Callable[[], object]


class FaultyDisk:
    """A disk as ``process`` writes to it while ``installed``; it outlives the process. SQLite is not watched."""

    def __init__(self) -> None:
        self.process = Process()
        self._pending: list[_Pending] = []
        self._synced: set[tuple[int, int]] = set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Watch the system calls that our adapters write with."""
        calls: dict[str, Callable[..., Any]] = {
            "fsync": self._fsync,
            "replace": self._replace,
            "mkdir": self._mkdir,
            "pwrite": self._pwrite,
            "ftruncate": self._ftruncate,
            "unlink": self._faulty(os.unlink),
            "rmdir": self._faulty(os.rmdir),
        }
        with ExitStack() as patches:
            for name, call in calls.items():
                patches.enter_context(mock.patch.object(os, name, call))
            yield

    def lose_power(self, survives: Sequence[bool]) -> None:
        """Undo what is not durable, the newest first, except where ``survives`` (repeated as needed) says so."""
        left: set[Path] = set()  # what came before a change that survives can't come back
        for number, pending in enumerate(reversed(self._pending)):
            if survives[number % len(survives)]:
                left.add(pending.path)
            elif pending.path not in left:
                pending.undo()
        self._pending.clear()

    def forget(self) -> None:
        """Take everything for durable."""
        self._pending.clear()

    def _faulty(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def with_faults(*args: Any, **named: Any) -> Any:
            return self._write(lambda: call(*args, **named))

        return with_faults

    def _write(self, act: Callable[[], Any]) -> Any:
        self.process.check(remote=False)
        return self.process.write(act, lambda: OSError(EIO, "Input/output error"))

    def _fsync(self, file: int, _fsync: Callable[[int], None] = os.fsync) -> None:
        def act() -> None:
            path = _path_of(file)
            self._pending = [pending for pending in self._pending if pending.until != path]
            self._synced.add(_version(os.fstat(file)))

        del _fsync  # nothing is lost in earnest, so nothing needs to reach the disk
        self._write(act)

    def _replace(self, source: Path, target: Path, _replace: Callable[..., None] = os.replace) -> None:
        target = Path(target)

        def act() -> None:
            before = target.read_bytes() if target.exists() else None
            is_durable = _version(Path(source).stat()) in self._synced
            moved = Path(source).read_bytes() if Path(source).parent != target.parent else None
            _replace(source, target)

            def undo() -> None:
                _restore(target, before)
                if moved is not None:  # the name in the other folder is there again
                    _restore(Path(source), moved)
                    if is_durable:
                        self._synced.add(_version(Path(source).stat()))

            self._pending.append(_Pending(target, target.parent, undo))
            if not is_durable:
                self._pending.append(_Pending(target, target, lambda: _restore(target, b"")))

        self._write(act)

    def _mkdir(self, folder: Path, mode: int = 0o777, _mkdir: Callable[..., None] = os.mkdir) -> None:
        def act() -> None:
            _mkdir(folder, mode)
            undo = lambda: shutil.rmtree(folder, ignore_errors=True)  # noqa: E731
            self._pending.append(_Pending(Path(folder), Path(folder).parent, undo))

        if Path(folder).exists():
            raise FileExistsError(folder)
        self._write(act)

    def _pwrite(self, file: int, data: bytes, at: int, _pwrite: Callable[..., int] = os.pwrite) -> int:
        def act() -> int:
            self._note_content(file)
            return _pwrite(file, data, at)

        written: int = self._write(act)
        return written

    def _ftruncate(self, file: int, size: int, _ftruncate: Callable[..., None] = os.ftruncate) -> None:
        def act() -> None:
            self._note_content(file)
            _ftruncate(file, size)

        self._write(act)

    def _note_content(self, file: int) -> None:
        path = _path_of(file)
        before = path.read_bytes()
        self._pending.append(_Pending(path, path, lambda: _restore(path, before)))


def _version(status: os.stat_result) -> tuple[int, int]:
    """Return what tells a file with its content from others; numbers of files are used again."""
    return status.st_ino, status.st_mtime_ns


def _path_of(file: int) -> Path:
    return Path(f"/proc/self/fd/{file}").readlink()


def _restore(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    elif path.parent.is_dir():
        path.write_bytes(content)
