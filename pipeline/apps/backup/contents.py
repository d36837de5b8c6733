"""What a backup holds and how it is listed: copies of a data folder's files, the blocks, a manifest over all.

A backup is a folder: ``manifest.json``, ``blocks.avro`` and ``data/`` as in the data folder. It holds keys in clear.
"""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ops.kafka.rights_file import RIGHTS_FILE
from pipeline.adapters.private_files import PRIVATE_FILE_MODE, PRIVATE_FOLDER_MODE, create_private
from pipeline.core.errors import ConfigError

FORMAT: Final = 1
BLOCKS: Final = "blocks.avro"
DATA: Final = "data"
_MANIFEST: Final = "manifest.json"
# Of everything else the rows, keys and settings follow from these, or are written again at a start.
_KEPT: Final = ("chain", "platform/keys", "pki", "nodes", "ports.json", "worker-ports.json", RIGHTS_FILE)
_DATABASE: Final = ".sqlite"
# Belong to a database file, and to the process that has it open.
_SIDE_FILES: Final = ("-wal", "-shm", "-journal", ".lock")


@dataclass(frozen=True, slots=True)
class Copied:
    """A file of a backup: its length in bytes and SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of: chain hash, height and root of its last block in hexadecimal, GMT, and every file."""

    chain: str
    url: str
    height: int
    root: str
    made: str
    files: Mapping[str, Copied]


def copy_data(source: Path, target: Path) -> None:
    """Copy what a backup keeps of a data folder; programs may be running in it.

    Raises:
        ConfigError: a file can't be read or written.
    """
    for name in _KEPT:
        for path in _files(source / name):
            _copy(path, target / path.relative_to(source))


def copy_back(backup: Path, data_dir: Path) -> None:
    """Copy the data folder's files out of a backup.

    Raises:
        ConfigError: a file can't be read or written.
    """
    for path in _files(backup / DATA):
        _copy(path, data_dir / path.relative_to(backup / DATA))


def write_manifest(backup: Path, manifest: Manifest) -> None:
    """Write the list of a backup, which makes it whole."""
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1)
    create_private(backup / _MANIFEST, text.encode())


def read_manifest(backup: Path) -> Manifest:
    """Return the list of a backup.

    Raises:
        ConfigError: the folder is no backup, or one of another release.
    """
    try:
        told: dict[str, Any] = json.loads((backup / _MANIFEST).read_text("utf-8"))
        if told.pop("format") != FORMAT:
            raise ConfigError(f"{backup} is a backup of another release")
        files = {name: Copied(**fields) for name, fields in told.pop("files").items()}
        return Manifest(**told, files=files)
    except OSError as error:
        raise ConfigError(f"{backup} is no backup: {_MANIFEST}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(f"{backup} is no backup: {_MANIFEST} is damaged") from None


def list_files(backup: Path) -> dict[str, Copied]:
    """Return every file of a backup with its length and hash."""
    found = {}
    for path in _files(backup):
        name = str(path.relative_to(backup))
        if name != _MANIFEST:
            found[name] = _hashed(path)
    return found


def differences(backup: Path, manifest: Manifest) -> list[str]:
    """Return what is missing, added or changed in a backup, a line each."""
    found = list_files(backup)
    lines = [f"{name} is missing" for name in manifest.files if name not in found]
    lines += [f"{name} was added" for name in found if name not in manifest.files]
    changed = [name for name, held in found.items() if manifest.files.get(name, held) != held]
    return lines + [f"{name} was changed" for name in changed]


def _files(place: Path) -> Iterator[Path]:
    """Yield files under a place, or the place itself, in order; none where it is not there."""
    found = [place] if place.is_file() else sorted(place.rglob("*"))
    return (path for path in found if path.is_file() and not f".{path.name}".endswith(_SIDE_FILES))


def _copy(source: Path, target: Path) -> None:
    try:
        for folder in (*reversed(target.parents), target.parent):
            if not folder.exists():
                folder.mkdir(mode=PRIVATE_FOLDER_MODE)
        target.touch(mode=PRIVATE_FILE_MODE, exist_ok=False)
        if source.suffix == _DATABASE:
            _copy_database(source, target)
        else:
            shutil.copyfile(source, target)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"can't copy {source} to {target}: {error}") from None


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database as of one moment, its owner writing on."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as held,
        closing(sqlite3.connect(target)) as copy,
    ):
        held.backup(copy)


def _hashed(path: Path) -> Copied:
    with path.open("rb") as file:
        return Copied(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
