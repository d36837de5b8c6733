"""A platform's store in a SQLite file, built anew beside the old one; of PostgreSQL see ``rebuilt_schema``."""

import os
from pathlib import Path
from typing import Final

from pipeline.adapters.folder_lock import lock_beside
from pipeline.adapters.sql.engine import open_sqlite
from pipeline.adapters.sql.rebuilt_file import RebuiltFile

_OPENED_NO_MORE: Final = (
    "SELECT count(*) FROM main.kpi_records AS new JOIN old.kpi_records AS old USING (tracing_code)"
    " WHERE new.status = 'unopened' AND old.status <> 'unopened'"
)
_PUBLISHED: Final = "SELECT {} FROM old.platform_position"


class RebuiltStoreFile:
    """The draft of a store's file; has the lock of the live one until ``close``.

    ``engine`` is the draft's, empty at first.

    Raises:
        ConfigError: another program has the store (code ``folder_in_use``).
        TransientError: the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._lock = lock_beside(path, "the platform worker")
        try:
            self._file = RebuiltFile(path)
            self.engine = open_sqlite(self._file.draft, durable=False)
        except BaseException:
            os.close(self._lock)
            raise

    def published(self) -> tuple[int, int]:
        """Return height and entry of the last packet that the live store knows as published; zeros for none."""
        height, entry = (
            self._file.compare(_PUBLISHED.format(f"published_{part}")) for part in ("height", "entry")
        )
        return height, entry

    def lost(self) -> int:
        """Return how many packets are open in the live store and not in the draft."""
        return self._file.compare(_OPENED_NO_MORE)

    def finish(self) -> None:
        """Put the draft, which nothing has open, in the place of the old file, durably.

        Raises:
            TransientError: the disk refuses, or another program has the old file open.
        """
        self._file.finish()

    def close(self) -> None:
        """Remove what is left of the draft, and let the store go."""
        self.engine.dispose()
        self._file.discard()
        os.close(self._lock)
