"""One program at a time on a data folder. The kernel drops the lock with its holder, so none goes stale."""

import fcntl
import os
import signal
import time
from pathlib import Path

from ops.files import PRIVATE_FILE_MODE, private_folder
from pipeline.core.errors import ConfigError, TransientError

POLL_S = 0.1


class FolderLock:
    """Held from construction to ``release`` or to the end of the process.

    Raises:
        ConfigError: another process holds the folder; the message says which.
    """

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        self._handle = os.open(_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise ConfigError(
                f"{folder} is in use by process {holder(folder)}: stop it with `bkdms down`, or name another folder"
            ) from error
        os.ftruncate(self._handle, 0)
        os.write(self._handle, str(os.getpid()).encode())

    def release(self) -> None:
        """Let others have the folder."""
        os.ftruncate(self._handle, 0)
        os.close(self._handle)


def holder(folder: Path) -> int | None:
    """The process that holds ``folder``, or None when nobody does."""
    try:
        handle = os.open(_path(folder), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(handle, 20).decode("ascii", "replace")
        return int(text) if text.isdigit() else None
    finally:
        os.close(handle)
    return None


def stop_holder(folder: Path, timeout_s: float) -> bool:
    """Ask the holder to end and wait until it has; False when nobody held the folder.

    Raises:
        TransientError: it is still there after ``timeout_s`` seconds.
    """
    process = holder(folder)
    if process is None:
        return False
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while holder(folder) == process:
        if time.monotonic() > deadline:
            raise TransientError(f"process {process} still holds {folder} after {timeout_s:.0f} s")
        time.sleep(POLL_S)
    return True


def _path(folder: Path) -> Path:
    return folder / "lock"
