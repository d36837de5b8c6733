"""What a source hands to the site agent: normalised records, and rows it had to refuse.

Both are values. A record holds everything of a unified KPI record (Y.4907 Table 10-1) but the site's name,
which the agent knows and a source doesn't.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pipeline.core.names import SiteName
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord

__all__ = ["Batch", "Extending", "KpiValue", "NormalisedRecord", "QualityCode", "RejectReason", "Rejected"]


class RejectReason(StrEnum):
    """Why a value or a whole row did not become data; stable, doubles as the metric label."""

    ROW_TOO_LONG = "row_too_long"
    BAD_ENCODING = "bad_encoding"
    BAD_QUOTES = "bad_quotes"
    FIELD_COUNT = "field_count"
    MISSING_TIME = "missing_time"
    BAD_TIME = "bad_time"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    UNCERTAIN_TIME = "uncertain_time"
    MISSING_VALUE = "missing_value"
    NOT_A_NUMBER = "not_a_number"
    NOT_FINITE = "not_finite"
    TOO_PRECISE = "too_precise"
    TOO_LARGE = "too_large"
    UNKNOWN_UNIT = "unknown_unit"
    UNIT_MISMATCH = "unit_mismatch"
    OUT_OF_RANGE = "out_of_range"


class NormalisedRecord(NamedTuple):
    """One collecting time of one sensor: GMT ms, at least one exact value in the catalogue's unit, extending part."""

    time_ms: int
    values: tuple[KpiValue, ...]
    extending: Extending

    def at(self, site: SiteName) -> UnifiedRecord:
        """The Table 10-1 record of this data at ``site``."""
        return UnifiedRecord(site, self.time_ms, self.values, self.extending)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refused field (or, with an empty ``field``, a whole row); ``row`` is its first line in the file, from 1.

    Holds no value: it may be logged, and plain values never are.
    """

    row: int
    field: str
    reason: RejectReason


@dataclass(frozen=True, slots=True)
class Batch:
    """What one ``read`` gave. An empty batch is not the end: ``at_end`` says that nothing more was there.

    ``rows`` counts consumed data rows, ``skipped`` those of them that belong to another site.
    """

    records: tuple[NormalisedRecord, ...]
    rejected: tuple[Rejected, ...]
    next_position: str
    at_end: bool
    rows: int
    skipped: int
