"""The platform worker's own marks of how far it came, as an audit of its store can judge them."""

from collections.abc import Iterator, Sequence

from pipeline.core.row_audit import Row
from pipeline.core.storage import Status, StoredBlock


class StoreProgress:
    """How far the worker came, by its own marks: no part of the ledger, but held against what is possible."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._row = rows[0] if rows else None
        self._last = -1
        self._next: int | None = None
        self._is_place = True
        if self._row is not None:
            self._is_place = (self._row["published_height"], self._row["published_entry"]) == (0, 0)

    def offset_of(self, rows: Sequence[Row], kafka_offset: int | None) -> int:
        """Return the offset of a block in its topic; where it is not known, as held if it follows the last one's."""
        held = rows[0]["kafka_offset"] if rows else None
        if kafka_offset is None:
            kafka_offset = held if isinstance(held, int) and held > self._last else self._last + 1
        return kafka_offset

    def block(self, stored: StoredBlock) -> None:
        """Note a block that is stored."""
        self._last = stored.kafka_offset
        row = self._row
        if row is not None and row["published_height"] == stored.extended.block.header.height:
            good = (record.entry for record in stored.records if record.content.status is Status.OK)
            self._is_place = row["published_entry"] in good

    def next_block(self, kafka_offset: int | None) -> None:
        """Note the first block that is not stored."""
        if self._next is None:
            self._next = kafka_offset

    def problems(self, end: int | None) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield columns of the position that can't be right, and why."""
        if self._row is None:
            return
        offset, last = self._row["next_offset"], self._next if self._next is not None else end
        if not isinstance(offset, int) or offset <= self._last or (last is not None and offset > last):
            yield ("next_offset",), "not between the last block stored and the next one"
        if not self._is_place:
            yield ("published_height", "published_entry"), "not the place of a packet with observations"
