"""A lock on a folder that one process at a time may work in; the system lets go of it when the process ends."""

import fcntl
import os
from pathlib import Path

from pipeline.core.errors import ConfigError


def lock_folder(folder: Path) -> int:
    """Lock a folder and return the open lock file; closing it unlocks.

    Raises:
        ConfigError: another process has the folder (code ``folder_in_use``).
    """
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise ConfigError(
            f"{folder} is in use by another process; stop it, or name another folder", code="folder_in_use"
        ) from None
    return file
