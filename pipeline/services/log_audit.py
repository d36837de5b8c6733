"""Deriving blocks again from the chain log, where it still holds what they consumed.

Shows more than the blocks can by themselves: that nothing admissible was left out of them, and that their log digests
are of what the log holds. The log is trimmed below what is published, so mostly the last blocks are compared.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from pipeline.core.block import Block, LogSource, parse_certified
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.replica import Extended, assume_signed, extend
from pipeline.core.state import ChainState
from pipeline.ports import PartitionReader
from pipeline.services.audit_report import Finding

_FETCH_RECORDS: Final = 256
_FETCH_TIMEOUT_MS: Final = 2000
_PATIENCE: Final = 5
"""Fetches without a record, until the log counts as away."""
_TRIMMED: Final = "offset_out_of_range"


@dataclass(frozen=True, slots=True)
class LogStart:
    """State before the first block whose records the log still holds, and where that block is in its source."""

    state: ChainState
    position: int


class LogAudit:
    """Compares good blocks, in order, with what the chain log gives; ``compared`` counts them.

    The log holds records up to offset ``end``. Blocks of an earlier incarnation of it, or of records that it does not
    hold (any more), are passed over.
    """

    def __init__(self, start: LogStart, log: PartitionReader, incarnation: int, end: int) -> None:
        self._state = start.state
        self._log = log
        self._incarnation = incarnation
        self._end = end
        self._deriver: Deriver | None = None
        self.compared = 0

    async def take(self, data: bytes, name: str) -> Finding | None:
        """Compare the next block, which was audited before; return what is wrong. Other records are passed over.

        Raises:
            TransientError: Kafka is away.
        """
        parsed = parse_certified(data)
        if parsed is None or parsed[0].header.height != self._state.head.height + 1:
            return None
        block = parsed[0]
        source = block.header.source
        if source.incarnation != self._incarnation or source.next > self._end:
            self._deriver = None
        elif self._deriver is None:
            self._deriver = Deriver(self._state.copy())
        if not isinstance(extend(self._state, data, assume_signed), Extended) or self._deriver is None:
            return None
        try:
            derived = await self._derive(self._deriver, source)
        except IntegrityError as error:
            self._deriver = None
            if error.code == _TRIMMED:
                return None
            return Finding(name, block.header.height, error.code, str(error))
        self.compared += 1
        return _difference(block, derived, name)

    async def _derive(self, deriver: Deriver, source: LogSource) -> tuple[Derived, ...]:
        """Return the blocks that the records of a range of the log give."""
        await self._log.seek(source.first)
        position, waited = source.first, 0
        closed: list[Derived] = []
        while position < source.next:
            records = await self._log.fetch(min(_FETCH_RECORDS, source.next - position), _FETCH_TIMEOUT_MS)
            waited = 0 if records else waited + 1
            if waited >= _PATIENCE:
                raise TransientError(f"offset {position} of the chain log did not come in time", code="kafka")
            for record in records:
                closed += deriver.feed(LogRecord(record.offset, record.time_ms, record.value)).closed
                position = record.offset + 1
        return (*closed, *deriver.close())


def _difference(block: Block, derived: tuple[Derived, ...], name: str) -> Finding | None:
    """Return where a block is not what the log gives."""
    header = block.header
    source = header.source
    if len(derived) == 1 and derived[0].block.encoded == block.encoded:
        return None
    where = f"offsets {source.first} to {source.next - 1} of the chain log"

    def finding(detail: str) -> Finding:
        return Finding(name, header.height, "log_differs", detail)

    if len(derived) != 1:
        return finding(f"{where} give {len(derived)} blocks")
    pairs = zip_longest(block.entries, derived[0].block.entries)
    for number, (held, given) in enumerate(pairs):
        if held != given:
            offset = min(entry.offset for entry in (held, given) if entry is not None)
            return finding(f"entry {number} is not what the chain log gives from offset {offset} on")
    return finding(
        f"{where} do not give its log digest: a record that was refused is another one, or is missing"
    )
