"""Collecting: from the source into the spool, each row exactly once.

Records and the source's position go into one transaction, so a crash between two readings neither loses
nor doubles a row. When the spool has reached its budget, reading pauses; nothing is dropped.
"""

from collections import Counter
from dataclasses import dataclass

from pipeline.core.batching import largest_record
from pipeline.core.delivery import NewRecord
from pipeline.core.record import encode_record
from pipeline.services.site_agent.needs import SiteParts, SourceBatch
from pipeline.telemetry import site_metrics

RECORD_TOO_LARGE = "record_too_large"


@dataclass(frozen=True, slots=True)
class Collecting:
    """How to collect: rows a reading, spool budget in bytes, seconds between readings at the source's end."""

    batch_rows: int = 500
    budget_bytes: int = 1 << 30
    poll_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What one step of collecting gave; ``paused`` says that the spool is at its budget."""

    records: int = 0
    rejected: Counter[str] | None = None
    at_end: bool = False
    paused: bool = False


class Collector:
    """Moves rows from one source to one spool."""

    def __init__(self, parts: SiteParts, settings: Collecting) -> None:
        self._terms, self._source, self._spool = parts.terms, parts.source, parts.spool
        self._clock, self._label, self._settings = parts.clock, parts.label, settings

    def step(self, *, final: bool) -> Collected:
        """Read once and keep what was read; blocks on files.

        Raises:
            ConfigError: the source's data do not fit the settings.
            TransientError: source or disk fail for now; nothing was taken.
        """
        if self._spool.depth().used_bytes >= self._settings.budget_bytes:
            return Collected(paused=True)
        position = self._spool.position()
        batch = self._source.read(position, self._settings.batch_rows, final=final)
        records, rejected = self._encode(batch)
        if batch.next_position != position:
            self._spool.append(records, batch.next_position, rejected, self._clock.now_ms())
            site_metrics.COLLECTED.labels(self._label).inc(len(records))
            for reason, fields in rejected.items():
                site_metrics.REJECTED.labels(self._label, reason).inc(fields)
        return Collected(len(records), rejected, batch.at_end)

    def _encode(self, batch: SourceBatch) -> tuple[list[NewRecord], Counter[str]]:
        records: list[NewRecord] = []
        rejected = Counter(str(refused.reason) for refused in batch.rejected)
        limit = largest_record(self._terms)
        for found in batch.records:
            record = found.at(self._terms.site)
            data = encode_record(record)
            # A record that no packet can take would hold up everything behind it for ever.
            if len(data) <= limit:
                records.append(NewRecord(record.time_ms, data))
            else:
                rejected[RECORD_TOO_LARGE] += 1
        return records, rejected
