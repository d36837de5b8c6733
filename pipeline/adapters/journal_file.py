"""A registrar's journal in a file beside its key, held by one program at a time."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.adapters.private_files import PRIVATE_FILE_MODE, read_private, replace_private
from pipeline.core.control import Control, parse_control
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.issuing import Journal
from pipeline.core.state import Position

_FORMAT = "bkdms-registrar-journal/v1"
_MAX_FILE_BYTES = 64 << 20


class JournalFile:
    """The journal of one registrar key on one chain; a context manager that holds it.

    Raises:
        TransientError: another registrar command holds it.
    """

    def __init__(self, key_file: Path, chain: bytes) -> None:
        self.path = key_file.with_name(f"{key_file.stem}.{chain[:4].hex()}.journal")
        lock = self.path.with_suffix(".lock")
        try:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
        except OSError as error:
            raise ConfigError(f"{lock}: {error.strerror}", code="config.file") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise TransientError(
                "another registrar command is at work with this key; wait for it to end",
                code="registrar_busy",
            ) from None

    def load(self) -> Journal:
        """Return what was saved last; an empty journal where nothing was.

        Raises:
            ConfigError: the file is open to others or damaged.
        """
        if not self.path.exists():
            return Journal()
        try:
            document = json.loads(read_private(self.path, _MAX_FILE_BYTES))
            if document["format"] != _FORMAT:
                raise ValueError("format")
            position = Position(int(document["sequence"]), bytes.fromhex(document["last_id"]))
            pending = tuple(bytes.fromhex(item) for item in document["pending"])
            if not all(isinstance(parse_control(item), Control) for item in pending):
                raise ValueError("pending")
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                f"registrar's journal {self.path} is damaged; delete it, then the position is read from the ledger "
                "and only records that never got there are to be issued again",
                code="config.journal",
            ) from None
        return Journal(position, pending)

    def save(self, journal: Journal) -> None:
        """Return once the journal is on disk.

        Raises:
            ConfigError: the place can't be written to.
        """
        document = {
            "format": _FORMAT,
            "sequence": journal.position.sequence,
            "last_id": journal.position.last_id.hex(),
            "pending": [item.hex() for item in journal.pending],
        }
        replace_private(self.path, (json.dumps(document, indent=1) + "\n").encode())

    def close(self) -> None:
        """Let others have the journal."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
