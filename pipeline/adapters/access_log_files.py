"""The access log in a folder: files named by the number of their first line, the newest appended to.

Owns the files' names, their rotation and what a crash leaves; the lines' form is ``pipeline.core.access_log``'s.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.private_files import PRIVATE_FILE_MODE, PRIVATE_FOLDER_MODE
from pipeline.core.access_log import MAX_LINE_BYTES, Access, LogHead, after, beginning, encode_line
from pipeline.core.errors import ConfigError, IntegrityError, TransientError
from pipeline.telemetry.logs import logger

_NAME: Final = "access-{:012d}.jsonl"
_PATTERN: Final = "access-*.jsonl"

_log = logger(__name__)


class AccessLogFiles:
    """Appends to the log in ``folder``, made where it is missing, and goes on where it ends; held by one process.

    ``max_bytes`` is the size at which a new file is begun, ``keep`` how many files stay: the oldest go first.

    Raises:
        ConfigError: another process has the log, or the folder can't be written to.
        IntegrityError: the newest file does not end in a line of a log (``access_log``).
    """

    def __init__(self, folder: Path, chain: bytes, *, max_bytes: int, keep: int) -> None:
        self._folder, self._max_bytes, self._keep = folder, max_bytes, keep
        try:
            folder.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
            self._lock = lock_folder(folder, "another API")
            self.head = _resume(folder) or beginning(chain)
            files = log_files(folder)
            self._open(files[-1] if files else folder / _NAME.format(self.head.count + 1))
        except OSError as error:
            raise ConfigError(f"access log in {folder}: {error.strerror}", code="config.file") from None

    def append(self, access: Access) -> None:
        """Add the line of a request; it is in the file, though not yet forced to the disk.

        Raises:
            TransientError: the disk refuses (``disk``); the log is as before.
        """
        line = encode_line(self.head, access)
        try:
            if self._size + len(line) > self._max_bytes and self._size:
                self._rotate()
            _write_whole(self._handle, line, self._size)
        except OSError as error:
            raise TransientError(f"the access log can't be written: {error.strerror}", code="disk") from error
        self._size += len(line)
        found = after(line)
        assert found is not None  # noqa: S101  encoded here
        self.head = found

    def sync(self) -> None:
        """Return once every line is on the disk.

        Raises:
            TransientError: the disk refuses (``disk``).
        """
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            raise TransientError(f"the access log can't be kept: {error.strerror}", code="disk") from error

    def close(self) -> None:
        """Keep what there is and let others have the log."""
        self.sync()
        os.close(self._handle)
        os.close(self._lock)

    def _rotate(self) -> None:
        os.fdatasync(self._handle)
        os.close(self._handle)
        self._open(self._folder / _NAME.format(self.head.count + 1))
        for old in log_files(self._folder)[: -self._keep]:
            old.unlink()

    def _open(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
        self._size = os.fstat(self._handle).st_size


def log_files(folder: Path) -> list[Path]:
    """Return the files of a log, oldest first."""
    return sorted(folder.glob(_PATTERN))


def read_lines(file: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; none is longer than a line of a log may be, by one byte.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        with file.open("rb") as opened:
            while line := opened.readline(MAX_LINE_BYTES + 1):
                yield line
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", code="config.file") from None


def _write_whole(handle: int, line: bytes, size: int) -> None:
    """Write a line at the end of a file of ``size`` bytes, or leave nothing of it behind."""
    if os.pwrite(handle, line, size) != len(line):
        os.ftruncate(handle, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _resume(folder: Path) -> LogHead | None:
    """Return the head at the log's end, None for an empty one; a line that a crash cut off goes, with a warning."""
    for file in reversed(log_files(folder)):
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            _log.warning("access_log_cut", file=file.name, dropped_bytes=len(content) - len(whole))
            os.truncate(file, len(whole))
        if whole:
            return _head_after(file, whole[whole.rfind(b"\n", 0, -1) + 1 :])
    return None


def _head_after(file: Path, line: bytes) -> LogHead:
    head = after(line)
    if head is None:
        raise IntegrityError(
            f"access log {file} does not end in a line of a log: run `bkdms access-log verify`, keep the folder "
            "as evidence, and set access.log to a new one",
            code="access_log",
        )
    return head
