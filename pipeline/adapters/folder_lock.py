"""Locks on folders and files that one process at a time may work in; the system lets go when the process ends."""

import fcntl
import os
from pathlib import Path

from pipeline.core.errors import ConfigError

_FOLDER_MODE = 0o700


def lock_folder(folder: Path, user: str = "another process") -> int:
    """Lock a folder, made where it is missing, and return the open lock file; closing it unlocks.

    ``user`` says who may have it, for the message.

    Raises:
        ConfigError: another process has the folder (code ``folder_in_use``).
    """
    return _lock(folder / "lock", folder, user)


def lock_beside(file: Path, user: str = "another process") -> int:
    """Lock a file by one beside it, ``FILE.lock``, and return that, open; closing it unlocks.

    Raises:
        ConfigError: another process has the file (code ``folder_in_use``).
    """
    return _lock(file.with_name(f"{file.name}.lock"), file, user)


def _lock(path: Path, what: Path, user: str) -> int:
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{what} can't be used: {error.strerror}", code="config.file") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise ConfigError(
            f"{what} is in use by {user}; stop it, or name another place", code="folder_in_use"
        ) from None
    return file
