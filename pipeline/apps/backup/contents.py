"""What a backup holds and how it is listed: copies of a data folder's files, the blocks, a manifest over all.

A backup is a folder: ``manifest.json``, ``blocks.avro`` and ``data/`` as in the data folder. All of ``data/`` but the
genesis file is sealed under the backup's own key; the manifest holds that key, sealed, and is authenticated under it.
"""

import hashlib
import hmac
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from ops.kafka.rights_file import RIGHTS_FILE
from pipeline.adapters.private_files import PRIVATE_FILE_MODE, PRIVATE_FOLDER_MODE, create_private
from pipeline.adapters.sealed_file import Sealer
from pipeline.apps.backup.sealing import BackupKey
from pipeline.core.errors import ConfigError

FORMAT: Final = 2
BLOCKS: Final = "blocks.avro"
DATA: Final = "data"
_MANIFEST: Final = "manifest.json"
# Of everything else the rows, keys and settings follow from these, or are written again at a start.
_KEPT: Final = (
    "chain",
    "platform/keys",
    "pki",
    "nodes",
    "access",
    "ports.json",
    "worker-ports.json",
    RIGHTS_FILE,
)
# So that blocks can be verified by somebody without the passphrase.
_PUBLIC: Final = frozenset({"chain/genesis.json"})
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
    """What a backup is of: chain hash, height and root of its last block in hexadecimal, GMT, and every file.

    ``key`` is the backup's key, sealed; ``mac`` authenticates all else (hexadecimal).
    """

    chain: str
    url: str
    height: int
    root: str
    made: str
    files: Mapping[str, Copied]
    key: dict[str, Any] = field(default_factory=dict)
    mac: str = ""


def copy_data(source: Path, target: Path, key: BackupKey) -> None:
    """Copy what a backup keeps of a data folder, sealed; programs may be running in it.

    Raises:
        ConfigError: a file can't be read or written.
    """
    for name in _KEPT:
        for path in _files(source / name):
            _copy(path, target / path.relative_to(source), str(path.relative_to(source)), key)


def copy_back(backup: Path, data_dir: Path, key: BackupKey) -> None:
    """Open the data folder's files out of a backup.

    Raises:
        ConfigError: a file can't be read or written.
    """
    for path, name in _sealed(backup):
        target = data_dir / name
        try:
            _make_private(target)
            with path.open("rb") as sealed, target.open("wb") as file:
                _opened(name, sealed, file, key)
        except OSError as error:
            raise ConfigError(f"can't copy {path} to {target}: {error.strerror}") from None


def damaged_files(backup: Path, key: BackupKey) -> list[str]:
    """Return what does not open of a backup's files, a line each."""
    lines = []
    for path, name in _sealed(backup):
        try:
            with path.open("rb") as sealed:
                _opened(name, sealed, _Nowhere(), key)
        except ConfigError as error:
            lines.append(str(error))
    return lines


def write_manifest(backup: Path, manifest: Manifest, key: BackupKey, sealer: Sealer) -> Manifest:
    """Write the list of a backup with its sealed key, which makes it whole, and return it."""
    whole = replace(manifest, key=key.sealed(sealer))
    whole = replace(whole, mac=key.mac(_authenticated(whole)).hex())
    text = json.dumps({"format": FORMAT, **asdict(whole)}, indent=1)
    create_private(backup / _MANIFEST, text.encode())
    return whole


def opened_key(backup: Path, manifest: Manifest, sealer: Sealer) -> BackupKey:
    """Return a backup's key, its list authenticated under it.

    Raises:
        ConfigError: the passphrase is another one, or the list was changed (``config.backup``).
    """
    key = BackupKey.opened(manifest.key, sealer, str(backup / _MANIFEST))
    if not hmac.compare_digest(key.mac(_authenticated(manifest)).hex(), manifest.mac):
        raise ConfigError(f"{backup / _MANIFEST} was changed since the backup was made", code="config.backup")
    return key


def _authenticated(manifest: Manifest) -> bytes:
    told = {name: value for name, value in asdict(manifest).items() if name != "mac"}
    return json.dumps({"format": FORMAT, **told}, sort_keys=True, separators=(",", ":")).encode()


def read_manifest(backup: Path) -> Manifest:
    """Return the list of a backup.

    Raises:
        ConfigError: the folder is no backup, or one of another release.
    """
    try:
        told: dict[str, Any] = json.loads((backup / _MANIFEST).read_text("utf-8"))
        if told.pop("format") != FORMAT:
            raise ConfigError(
                f"{backup} is a backup of another release, which this one does not read", code="config.backup"
            )
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


class _Nowhere:
    """Takes what is written and keeps nothing."""

    def write(self, _piece: bytes) -> int:
        return 0


def _sealed(backup: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a backup's data folder and their names in it."""
    return ((path, str(path.relative_to(backup / DATA))) for path in _files(backup / DATA))


def _opened(name: str, source: BinaryIO, target: BinaryIO | _Nowhere, key: BackupKey) -> None:
    if name in _PUBLIC:
        target.write(source.read())
    else:
        key.open(name, source, target.write)


def _make_private(target: Path) -> None:
    """Make an empty private file in private folders."""
    for folder in (*reversed(target.parents), target.parent):
        if not folder.exists():
            folder.mkdir(mode=PRIVATE_FOLDER_MODE)
    target.touch(mode=PRIVATE_FILE_MODE, exist_ok=False)


def _copy(source: Path, target: Path, name: str, key: BackupKey) -> None:
    try:
        _make_private(target)
        if name in _PUBLIC:
            shutil.copyfile(source, target)
            return
        with target.open("wb") as sealed, _content(source) as content:
            key.seal(name, content, sealed)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"can't copy {source} to {target}: {error}") from None


def _content(source: Path) -> BinaryIO:
    """Return a file's content, open; a database's as of one moment, its owner writing on, in memory alone."""
    if source.suffix != _DATABASE:
        return source.open("rb")
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as held,
        closing(sqlite3.connect(":memory:")) as copy,
    ):
        held.backup(copy)
        return BytesIO(copy.serialize())


def _hashed(path: Path) -> Copied:
    with path.open("rb") as file:
        return Copied(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
