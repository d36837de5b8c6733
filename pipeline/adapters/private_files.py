"""Files with secrets: created whole or not at all, mode 0600, in folders of mode 0700."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import ConfigError

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700
_OTHERS = 0o077


def create_private(path: Path, content: bytes) -> None:
    """Write a new file durably; it appears under its name complete, and an existing one stays.

    Raises:
        ConfigError: the file is there already, or the place can't be written to.
    """
    with _file_errors(path):
        _make_folder(path.parent)
        draft = _write_draft(path, content)
        try:
            os.link(draft, path)
        finally:
            draft.unlink()
        _sync_folder(path.parent)


def replace_private(path: Path, content: bytes) -> None:
    """Write a file durably, so that a reader sees the old content or the new, never a part.

    Raises:
        ConfigError: the place can't be written to.
    """
    with _file_errors(path):
        _make_folder(path.parent)
        _write_draft(path, content).replace(path)
        _sync_folder(path.parent)


def replace_private_and_blank(path: Path, content: bytes) -> None:
    """Replace a file, and overwrite what it held before, as far as the file system writes in place.

    Raises:
        ConfigError: the place can't be written to.
    """
    with contextlib.ExitStack() as stack:
        with _file_errors(path):
            before = stack.enter_context(path.open("r+b")) if path.exists() else None
        replace_private(path, content)
        if before is not None:
            _blank(before)


def remove_private(path: Path) -> None:
    """Overwrite and remove a file, if it is there, and return when that is on disk.

    Raises:
        ConfigError: the place can't be written to.
    """
    with _file_errors(path):
        if not path.exists():
            return
        with path.open("r+b") as file:
            path.unlink()
            _sync_folder(path.parent)
            _blank(file)


def read_private(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file that only its owner may read.

    Raises:
        ConfigError: it is missing, too large, or open to other users.
    """
    with _file_errors(path), path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is no file", code="config.secret_file")
        if status.st_mode & _OTHERS:
            raise ConfigError(
                f"{path} can be read or changed by other users (mode {stat.S_IMODE(status.st_mode):04o}); "
                f"run: chmod 600 {path}",
                code="config.secret_file",
            )
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ConfigError(f"{path} is too large to be what its name says", code="config.secret_file")
    return content


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)


def _write_draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _blank(file: BinaryIO) -> None:
    """Overwrite the bytes of an open file, whose name may be gone."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    file.write(bytes(size))
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise ConfigError(f"{path} exists already; it is kept as it is", code="config.file_exists") from None
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", code="config.file_missing") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", code="config.file") from None
