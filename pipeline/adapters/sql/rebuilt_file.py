"""A SQLite file that is built anew beside the old one, which it replaces whole when it is finished."""

import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pipeline.core.errors import TransientError

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


class RebuiltFile:
    """The draft of a SQLite file; ``path`` stays as it is until ``finish``. The caller has the lock of both."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.draft = path.with_name(f".{path.name}.rebuilt")
        self.discard()

    def finish(self) -> None:
        """Put the draft, which nothing has open, in the place of the old file, durably.

        Raises:
            TransientError: the disk refuses (code ``disk``).
        """
        try:
            _settle(self.draft)
            # Left beside the new file, the old one's write-ahead log would be taken for its own.
            _settle(self._path)
            self.draft.replace(self._path)
            _sync(self._path.parent)
        except (OSError, sqlite3.Error) as error:
            raise TransientError(f"the disk refuses: {error}", code="disk") from error

    def compare(self, query: str) -> int:
        """Return the number that ``query`` gives on the draft and ``old``, the old file; 0 if that is unreadable."""
        try:
            connection = sqlite3.connect(f"file:{quote(str(self.draft))}", uri=True)
            try:
                connection.execute("ATTACH ? AS old", (f"file:{quote(str(self._path))}?mode=ro",))
                return int(connection.execute(query).fetchone()[0])
            finally:
                connection.close()
        except sqlite3.DatabaseError:
            return 0

    def discard(self) -> None:
        """Remove the draft."""
        for end in ("", *_SIDE_FILES):
            _beside(self.draft, end).unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Bring everything into the file itself and onto the disk; of a damaged one, drop what is beside it.

    Raises:
        TransientError: another program has the file open (code ``database``).
    """
    if not path.exists():
        return
    try:
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise TransientError(
            f"{path} is open in another program ({error}); close that, then run this again", code="database"
        ) from error
    except sqlite3.DatabaseError:
        for end in _SIDE_FILES:
            _beside(path, end).unlink(missing_ok=True)
    _sync(path)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
