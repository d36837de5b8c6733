"""Files of a data folder: private modes, and never half-written."""

import os
from pathlib import Path

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700


def private_folder(folder: Path) -> Path:
    """Make ``folder`` (and its parents) and close it to other users; returns it."""
    folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER_MODE)
    folder.chmod(PRIVATE_FOLDER_MODE)
    return folder


def write_private(path: Path, content: bytes) -> Path:
    """Write ``content`` so that a reader sees the old file or the new one, never a part; mode 0600."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path
