"""A folder of Parquet files with the position that they stand for.

A commit is one rename, of ``_bkdms/position.json``. What it adds lies ready before, durable, under names that no
reader looks at, and is moved to its place after; a crash in between is made good when the folder is opened again. So
readers see every value once, and nothing that could still be taken back.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from connectors.sinks.parquet_rows import Columns, PartKey
from pipeline.core.errors import ConfigError, IntegrityError, TransientError

FORMAT: Final = "bkdms-parquet/v1"
OWN_FOLDER: Final = "_bkdms"
"""Holds position and staged files; readers of data sets leave out names with an underscore in front."""
_POSITION: Final = "position.json"
_STAGED: Final = "staged"
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_KEPT_PARTS: Final = 64
"""Parts whose tracing codes are kept in memory while a repeated topic is compared."""

Mark = tuple[int, int]


@dataclass(slots=True)
class PartitionPosition:
    """How far a Kafka partition was taken over.

    ``last`` is the SHA-256 of the record before ``next``, empty at first. ``marks`` is the last packet (height, entry)
    of each chain, by the first bytes of its hash.
    """

    next: int = 0
    last: bytes = b""
    marks: dict[bytes, Mark] = field(default_factory=dict)

    def copy(self) -> "PartitionPosition":
        """Return one that can change by itself."""
        return PartitionPosition(self.next, self.last, dict(self.marks))


@dataclass(frozen=True, slots=True)
class FolderPosition:
    """What the files hold: number of the last commit, and the position in each partition."""

    commit: int = 0
    partitions: Mapping[int, PartitionPosition] = field(default_factory=dict)


class ParquetFolder:
    """The files of one sink. One process at a time has a folder; its owner sees to that. Calls block."""

    def __init__(self, folder: Path, topic: str) -> None:
        self._folder = folder
        self._own = folder / OWN_FOLDER
        self._topic = topic
        self._codes: OrderedDict[PartKey, set[str]] = OrderedDict()

    def open(self) -> FolderPosition:
        """Finish what an interrupted commit left, remove what none made, and return the position.

        Raises:
            ConfigError: the folder is another topic's (code ``other_topic``).
            IntegrityError: the position can't be read (code ``parquet_position``).
            TransientError: the disk refuses (code ``disk``).
        """
        self._codes.clear()
        with _disk_errors():
            for folder in (self._folder, self._own, self._own / _STAGED):
                folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
                _sync(folder.parent)
            position, files = self._load()
            self._put_in_place(files)
            for stray in (self._own / _STAGED).iterdir():
                stray.unlink()
        return position

    def commit(self, position: FolderPosition, parts: Mapping[PartKey, Columns]) -> int:
        """Add a file a part and move the position, all or nothing; return how many bytes were added.

        Raises:
            TransientError: the disk refuses (code ``disk``); open the folder again to see what became of it.
        """
        files, size = dict[str, str](), 0
        with _disk_errors():
            for number, (key, columns) in enumerate(sorted(parts.items())):
                name = f"part-{position.commit:08d}-{number:04d}.parquet"
                content = _encoded(columns)
                _write(self._own / _STAGED / f"{name}.{_STAGED}", content)
                files[f"{name}.{_STAGED}"] = f"{key.folder}/{name}"
                size += len(content)
            _sync(self._own / _STAGED)
            self._save(position, files)
            self._put_in_place(files)
            for key in parts:
                self._codes.pop(key, None)
        return size

    def holds(self, key: PartKey, code: str) -> bool:
        """Tell whether committed files hold values of a packet, by its tracing code.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        if key not in self._codes:
            with _disk_errors():
                self._codes[key] = self._read_codes(self._folder / key.folder)
            while len(self._codes) > _KEPT_PARTS:
                self._codes.popitem(last=False)
        self._codes.move_to_end(key)
        return code in self._codes[key]

    @staticmethod
    def _read_codes(folder: Path) -> set[str]:
        found: set[str] = set()
        for file in folder.glob("*.parquet") if folder.is_dir() else ():
            column = pq.read_table(file, columns=["tracing_code"], partitioning=None).column(0)
            found.update(column.unique().to_pylist())
        return found

    def _load(self) -> tuple[FolderPosition, dict[str, str]]:
        try:
            text = (self._own / _POSITION).read_bytes()
        except FileNotFoundError:
            return FolderPosition(), {}
        try:
            fields = json.loads(text)
            if fields["format"] != FORMAT:
                raise ValueError(fields["format"])
            partitions = {int(number): _position(item) for number, item in fields["partitions"].items()}
            found = FolderPosition(int(fields["commit"]), partitions), dict(fields["files"])
            topic = fields["topic"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"{self._own / _POSITION} is damaged ({error}): the files without it could be doubled; "
                "name an empty folder in parquet.folder to start over",
                code="parquet_position",
            ) from None
        if topic != self._topic:
            raise ConfigError(
                f"{self._folder} holds values of topic {topic}, not {self._topic}; name another parquet.folder",
                code="other_topic",
            )
        return found

    def _save(self, position: FolderPosition, files: Mapping[str, str]) -> None:
        fields = {
            "format": FORMAT,
            "topic": self._topic,
            "commit": position.commit,
            "partitions": {
                str(number): _fields(item) for number, item in sorted(position.partitions.items())
            },
            "files": files,
        }
        draft = self._own / f".{_POSITION}.new"
        _write(draft, json.dumps(fields, indent=1).encode())
        draft.replace(self._own / _POSITION)
        _sync(self._own)

    def _put_in_place(self, files: Mapping[str, str]) -> None:
        """Move staged files to their places; those that are there already, or were removed since, stay as they are."""
        moves = {self._own / _STAGED / staged: self._folder / name for staged, name in files.items()}
        waiting = {source: target for source, target in moves.items() if source.exists()}
        for target in waiting.values():
            for folder in (target.parent.parent, target.parent):
                folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        # Folders first and from the top: a file in a folder that is not there after a power loss would be gone.
        cities = dict.fromkeys(target.parent.parent for target in waiting.values())
        for folder in (self._folder, *cities) if waiting else ():
            _sync(folder)
        for source, target in waiting.items():
            source.replace(target)
        # Also what an earlier run moved: it has to stay before the next commit forgets these files.
        for folder in dict.fromkeys(target.parent for target in moves.values()):
            if folder.is_dir():
                _sync(folder)
        _sync(self._own / _STAGED)


def value_hash(value: bytes | None) -> bytes:
    """Return what tells a record of the topic from another."""
    return sha256(value or b"").digest()


def _position(fields: Any) -> PartitionPosition:
    marks = {
        bytes.fromhex(chain): (int(height), int(entry)) for chain, (height, entry) in fields["marks"].items()
    }
    return PartitionPosition(int(fields["next"]), bytes.fromhex(fields["last"]), marks)


def _fields(position: PartitionPosition) -> dict[str, Any]:
    marks = {chain.hex(): list(mark) for chain, mark in sorted(position.marks.items())}
    return {"next": position.next, "last": position.last.hex(), "marks": marks}


def _encoded(columns: Columns) -> bytes:
    out = BytesIO()
    pq.write_table(columns.table(), out, compression="zstd")
    return out.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write a private file and wait until it is on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Wait until a folder's list of names is on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn the system's refusals into ours."""
    try:
        yield
    except OSError as error:
        raise TransientError(f"the disk refuses: {error}", code="disk") from error
