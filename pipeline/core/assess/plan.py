"""The assessment plan: what a city expects of its data and wants to reach. Valid once constructed by ``read_plan``.

Owns expectations and targets; which indicators exist and what they mean is the catalogue's.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import cache
from hashlib import sha256
from typing import Final

from pipeline.core.assess.formulas import FORMULAS_VERSION
from pipeline.core.assess.model import Kind, Period, Series
from pipeline.core.assess.windows import MAX_DATABLE_MS, Interval
from schemas.catalogue import catalogue

ANY: Final = "*"
"""Stands for every site, indicator or data point in a rule."""


@dataclass(frozen=True, slots=True)
class SeriesRule:
    """What is expected of the series that it matches; what is None is not assessed.

    ``interval`` between values, from ``since`` to ``until`` (GMT ms); ``lateness_ms`` allowed from a value's time to
    its admission; ``low`` and ``high`` plausible values, ``step`` between two following ones, in 10^-9 of the
    catalogue's unit; ``values`` names the formulas of the series' own figures.
    """

    site_id: str
    indicator: str
    data_point: str
    interval: Interval | None = None
    since: int = 0
    until: int = MAX_DATABLE_MS
    lateness_ms: int | None = None
    low: int | None = None
    high: int | None = None
    step: int | None = None
    values: tuple[str, ...] | None = None

    @property
    def is_of_one_series(self) -> bool:
        """Whether it names one series, so that its silence can be seen."""
        return ANY not in (self.site_id, self.indicator, self.data_point)

    def matches(self, series: Series) -> bool:
        """Tell whether it is about a series of its city."""
        return (
            self.site_id in (ANY, series.site_id)
            and self.indicator in (ANY, series.indicator)
            and self.data_point in (ANY, series.data_point)
        )


@dataclass(frozen=True, slots=True)
class FigureRule:
    """How a city's value of an indicator's data point is made of its sites' values (``formulas.py``).

    ``source`` is the indicator read, ``value`` the formula of the sites' figures, ``part`` and ``whole`` the data
    points that a share is about.
    """

    indicator: str
    data_point: str
    formula: str
    source: str
    value: str
    part: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where an indicator's data point started and is to go, in its unit; lower is better where target < start.

    ``is_ideal`` says that a value beyond the target is as bad as one as far before it (the catalogue's ``target 1``).
    """

    indicator: str
    data_point: str
    start: Decimal
    target: Decimal
    is_ideal: bool = False

    def percent(self, value: Fraction) -> Fraction:
        """Return how much of the way is gone, in per cent: 100 (value - start) / (target - start)."""
        way = Fraction(self.target) - Fraction(self.start)
        if self.is_ideal:
            return 100 * (1 - abs((value - Fraction(self.target)) / way))
        return 100 * (value - Fraction(self.start)) / way


@dataclass(frozen=True, slots=True)
class CityPlan:
    """One city's part of the plan. ``scored`` is the period over which indicators are reported and scored."""

    country: str
    city: str
    zone: tzinfo = UTC
    windows: tuple[Period, ...] = (Period.DAY, Period.MONTH)
    series: tuple[SeriesRule, ...] = ()
    figures: tuple[FigureRule, ...] = ()
    targets: tuple[Target, ...] = ()
    report: tuple[str, ...] = ()
    scored: Period = Period.YEAR
    limits: tuple[tuple[Kind, Decimal], ...] = ()

    def rule_of(self, series: Series) -> SeriesRule:
        """Return the first rule that matches a series, or one that expects nothing."""
        for rule in self.series:
            if rule.matches(series):
                return rule
        return SeriesRule(*series[2:])

    def limit(self, kind: Kind) -> Decimal | None:
        """Return the percentage below which a figure of that kind deserves a look."""
        return next((limit for of, limit in self.limits if of is kind), None)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole plan: one part per city, and what holds for cities without one."""

    cities: tuple[CityPlan, ...] = ()
    other: CityPlan = field(default=CityPlan("", ""))

    def of_city(self, country: str, city: str) -> CityPlan:
        """Return a city's part."""
        for part in self.cities:
            if (part.country, part.city) == (country, city):
                return part
        return replace(self.other, country=country, city=city)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the plan, the version of the formulas and the catalogue: another one means other figures."""
        text = f"{FORMULAS_VERSION}\n{self!r}\n{_catalogue_text()}"
        return sha256(text.encode()).digest()


DEFAULT_PLAN: Final = Plan()
"""Expects nothing: validity, traceability and reported values per day and month, in GMT."""


@cache
def _catalogue_text() -> str:
    known = catalogue()
    indicators = [(code, repr(known.indicators[code])) for code in sorted(known.indicators)]
    factors = [(unit, repr(known.units.factors[unit])) for unit in sorted(known.units.factors)]
    return repr((indicators, factors, sorted(known.special_factors.items())))
