"""The spool's file: how it is made, opened, locked, and how SQLite's errors read."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import ConfigError, IntegrityError, TransientError

FORMAT = 1
_CACHE_KIB = 2048
_WAL_LIMIT_BYTES = 16 << 20
_TABLES = """
CREATE TABLE IF NOT EXISTS state (
  id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL, binding BLOB NOT NULL, probe BLOB NOT NULL,
  position BLOB NOT NULL, last_record INTEGER NOT NULL, sequence INTEGER NOT NULL, confirmed_packets INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS records (
  record_id INTEGER PRIMARY KEY, spooled_ms INTEGER NOT NULL, size INTEGER NOT NULL, cell BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS packets (
  sequence INTEGER PRIMARY KEY, packet_id BLOB NOT NULL UNIQUE, previous BLOB NOT NULL,
  first_record INTEGER NOT NULL, last_record INTEGER NOT NULL, oldest_ms INTEGER NOT NULL,
  live INTEGER NOT NULL, raw BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS receipt (
  id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL, packet_id BLOB NOT NULL,
  height INTEGER NOT NULL, tree_size INTEGER NOT NULL, root BLOB NOT NULL, last_record INTEGER NOT NULL,
  verified_ms INTEGER NOT NULL, packet BLOB NOT NULL, document BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS rejected (reason TEXT PRIMARY KEY, fields INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS standing (leaf_index INTEGER PRIMARY KEY, raw BLOB NOT NULL) STRICT;
"""


class SpoolLock:
    """One agent at a time on a spool; the kernel drops the lock with its holder.

    Raises:
        ConfigError: another program has the spool.
    """

    def __init__(self, spool: Path) -> None:
        self._handle = os.open(
            spool.with_name(spool.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise ConfigError(
                f"{spool} is in use by another site agent; stop that one first", code="spool_in_use"
            ) from None

    def release(self) -> None:
        """Let others have the spool; a second call does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def connect(path: Path) -> sqlite3.Connection:
    """Open the spool's file, made with mode 0600 where it is new, with every commit on disk before it returns.

    Raises:
        ConfigError: the folder can't be written.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError(f"spool {path}: {error.strerror}; correct the path or its permissions") from None
    # The store serialises its calls by a lock of its own, so threads may share the connection.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with contextlib.ExitStack() as undo, spool_errors(path):
        undo.callback(database.close)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        database.executescript(f"BEGIN IMMEDIATE;{_TABLES}COMMIT;")
        undo.pop_all()
    return database


@contextlib.contextmanager
def spool_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        TransientError: code ``spool_disk``: the disk is full or fails; nothing was changed.
        IntegrityError: code ``spool_damaged``: the file is not what we wrote.
    """
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.OperationalError as error:
        raise TransientError(f"spool {path}: {error}", code="spool_disk") from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError(
            f"spool {path} is damaged ({error}); keep the file, and see with 'bkdms site verify' what is committed",
            code="spool_damaged",
        ) from error
