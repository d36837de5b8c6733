"""The last records of a spool, in memory, so that what is sealed at once need not be read back and decrypted.

Holds only what is on the disk. Its owner serialises the calls.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from pipeline.core.delivery import NewRecord, SpooledRecord

_MOST_RECORDS: Final = 2048


class LatestRecords:
    """A run of records without a gap; the oldest go as new ones come."""

    def __init__(self) -> None:
        self._records: deque[SpooledRecord] = deque(maxlen=_MOST_RECORDS)

    def add(self, first: int, records: Sequence[NewRecord], now_ms: int) -> None:
        """Note what was committed to the disk just now, from row ``first`` on."""
        if self._records and self._records[-1].record_id + 1 != first:
            self._records.clear()  # a commit between was not heard of
        self._records.extend(
            SpooledRecord(row, record.time_ms, now_ms, record.data)
            for row, record in enumerate(records, first)
        )

    def between(self, after: int, last: int, limit: int) -> list[SpooledRecord] | None:
        """Return up to ``limit`` records after row ``after``; None where not all up to row ``last`` are here."""
        held = self._records
        if not held or held[-1].record_id != last or held[0].record_id > after + 1:
            return None
        first = after + 1 - held[0].record_id
        return list(islice(held, first, first + limit))
