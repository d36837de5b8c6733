"""What analysis reads and what it finds: observed rows, windows, and assessments with what they rest on."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

MAX_TRACING_CODES: Final = 32
"""Tracing codes listed in one assessment; the digest is over all of them."""
NOT_STATED: Final = 0
"""Quality code of values whose record states none."""
NOT_TRACEABLE: Final = 6
"""The worst of the six quality codes."""
PERCENT: Final = "P1"
"""UNECE code of percentages."""
ONE: Final = "C62"
"""UNECE code of counts and ratios."""


class Period(StrEnum):
    """How long a window is: in the zone of the city's plan, so days and longer follow the local calendar."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class Window(NamedTuple):
    """A stretch of time: ``start`` inclusive, ``end`` exclusive, GMT milliseconds."""

    period: Period
    start: int
    end: int


class Cell(NamedTuple):
    """One city in one window: what is assessed at a time. All figures of a cell replace those found before."""

    country: str
    city: str
    window: Window


class Series(NamedTuple):
    """Whose values belong together; ``site_id`` is an IP address, as the store has it."""

    country: str
    city: str
    site_id: str
    indicator: str
    data_point: str


class Observed(NamedTuple):
    """One row of the store's observations, with its packet's time of admission (``kpi_records.admitted``).

    ``tracing_code``, ``record`` and ``number`` identify it: the same row twice counts once. Times are GMT ms.
    """

    tracing_code: str
    record: int
    number: int
    time_ms: int
    admitted_ms: int
    country: str
    city: str
    site_id: str
    indicator: str
    data_point: str
    exact: str
    unit: str
    quality: int

    @property
    def series(self) -> Series:
        """The series that this row belongs to."""
        return Series(self.country, self.city, self.site_id, self.indicator, self.data_point)


class Kind(StrEnum):
    """What was assessed."""

    COMPLETENESS = "completeness"
    TIMELINESS = "timeliness"
    VALIDITY = "validity"
    TRACEABILITY = "traceability"
    PLAUSIBILITY = "plausibility"
    AVAILABILITY = "availability"
    REPORTING = "reporting"
    VALUE = "value"
    TARGET = "target"
    SCORE = "score"


class Finding(StrEnum):
    """What deserves a look; ``NONE`` is the empty text. Stable: programs filter by it."""

    NONE = ""
    BELOW_LIMIT = "below_limit"
    OUT_OF_RANGE = "out_of_range"
    SHARES_DO_NOT_ADD_UP = "shares_do_not_add_up"
    MORE_THAN_ITS_WHOLE = "more_than_its_whole"
    NOT_REPORTED = "not_reported"
    WORSE_THAN_START = "worse_than_start"


@dataclass(frozen=True, slots=True)
class Traces:
    """The tracing codes that a figure rests on: the first ``MAX_TRACING_CODES`` sorted, how many there are, and
    SHA-256 (32 bytes) over all of them, sorted, each followed by a line feed.
    """

    codes: tuple[str, ...]
    count: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Assessment:
    """One figure about a series, a site or a city in a window (Y.4907 8.3).

    ``site_id`` is empty for a city; ``indicator`` is an indicator's code, for scores the place in the catalogue's tree
    (``Economy > ICT``), or empty; ``formula`` names how it was reckoned (``formulas.py``). ``value`` is rounded half
    to even at nine decimals, in ``unit`` (UNECE code). ``achieved`` of ``possible`` are the counts behind it: slots,
    rows, indicators or points. ``quality`` is the worst quality code among what it rests on (0: not stated, worst of
    all). ``verified`` says that all of it is in the ledger, valid, traceable and contradicts no rule of the verifier.
    """

    chain_id: str
    country: str
    city: str
    site_id: str
    indicator: str
    data_point: str
    kind: Kind
    formula: str
    window: Window
    value: Decimal
    unit: str
    achieved: int
    possible: int
    quality: int
    verified: bool
    finding: Finding
    traces: Traces

    @property
    def key(self) -> tuple[str, str, str, str, str, str, str, int, int]:
        """What no two assessments of one store share."""
        return (
            self.country,
            self.city,
            self.site_id,
            self.indicator,
            self.data_point,
            self.kind.value,
            self.formula,
            self.window.start,
            self.window.end,
        )

    @property
    def exact(self) -> str:
        """The value as decimal text without exponent."""
        return f"{self.value:f}"
