"""What an indicator is, and how the catalogue's rows become indicators.

Owns the shape and the checks of the catalogue. Refuses to own scoring and targets: those are the city's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from schemas.catalogue.units import UnitTable

LOCAL_PREFIX = "LOCAL:"
BOOLEAN_UNIT = "C62"


class Direction(StrEnum):
    """Which way an indicator improves; ``NONE`` for local codes, which no score uses."""

    UP = "up"
    DOWN = "down"
    TARGET_ONE = "target 1"
    PER_DATA_POINT = "per data point"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the values of one data point look like: unit (UNECE code) and inclusive range."""

    unece_unit: str
    low: Decimal | None
    high: Decimal | None
    whole: bool = False

    def contains(self, value: Decimal) -> bool:
        """Whether ``value``, already in ``unece_unit``, meets the definition."""
        if self.whole and value != value.to_integral_value():
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator of ITU-T Y.4903 (U4SSC), or a ``LOCAL:`` one; ``data_points`` is empty when there is only one."""

    code: str
    name: str
    dimension: str
    sub_dimension: str
    category: str
    tier: str
    type: str
    unit: str
    per: str
    limits: Limits
    data_points: tuple[str, ...]
    direction: Direction
    multiplier: Decimal | None
    exceptions: Mapping[str, Limits]
    definition: str

    @property
    def unece_unit(self) -> str:
        """UNECE code of stored values, data point exceptions aside."""
        return self.limits.unece_unit

    @property
    def low(self) -> Decimal | None:
        """Lowest value that meets the definition, in ``unece_unit``."""
        return self.limits.low

    @property
    def high(self) -> Decimal | None:
        """Highest value that meets the definition, in ``unece_unit``."""
        return self.limits.high

    @property
    def is_local(self) -> bool:
        """Whether this is one of our own codes, which no score uses."""
        return self.code.startswith(LOCAL_PREFIX)

    def limits_of(self, data_point: str) -> Limits | None:
        """Unit and range of one data point (``""`` where there is only one), ``None`` if it has no such point."""
        if data_point not in (self.data_points or ("",)):
            return None
        return self.exceptions.get(data_point, self.limits)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All indicators by code, the units, the special conversions and the countries."""

    indicators: Mapping[str, Indicator]
    units: UnitTable
    special_factors: Mapping[tuple[str, str, str], Decimal]
    countries: Mapping[str, str]

    def find(self, code: str) -> Indicator | None:
        """The indicator with this exact code, e.g. ``EC: I: T: 5A``."""
        return self.indicators.get(code)

    def special_factor(self, code: str, data_point: str, unit: str) -> Decimal | None:
        """The factor from ``unit`` that holds for this data point only, e.g. ppb of one gas to µg/m³."""
        return self.special_factors.get((code, data_point, unit))


def read_limits(unece_unit: str, value_range: str) -> Limits:
    """Read ``low..high`` (either end may be open) or ``boolean``.

    Raises:
        ValueError: the range is neither.
    """
    if value_range == "boolean":
        return Limits(unece_unit or BOOLEAN_UNIT, Decimal(0), Decimal(1), whole=True)
    low, dots, high = value_range.partition("..")
    try:
        limits = Limits(unece_unit, Decimal(low) if low else None, Decimal(high) if high else None)
    except InvalidOperation:
        raise ValueError(f"range {value_range!r} is not low..high") from None
    if not dots or (limits.low is not None and limits.high is not None and limits.low > limits.high):
        raise ValueError(f"range {value_range!r} is not low..high")
    return limits


def read_indicators(
    rows: list[dict[str, str]],
    local_rows: list[dict[str, str]],
    point_rows: list[dict[str, str]],
    units: UnitTable,
) -> dict[str, Indicator]:
    """Build all indicators from ``indicators.csv``, ``local_indicators.csv`` and ``data_points.csv``.

    Raises:
        ValueError: a code occurs twice or has the wrong prefix, a unit is unknown, or a data point belongs to nothing.
    """
    exceptions: dict[str, dict[str, Limits]] = {}
    for row in point_rows:
        limits = read_limits(row["unece_unit"], row["value_range"])
        exceptions.setdefault(row["code"], {})[row["data_point"]] = limits
    indicators: dict[str, Indicator] = {}
    for row, is_local in [(r, False) for r in rows] + [(r, True) for r in local_rows]:
        indicator = _indicator(row, exceptions.pop(row["code"], {}))
        _check(indicator, is_local, units)
        if indicator.code in indicators:
            raise ValueError(f"indicator {indicator.code!r} occurs twice")
        indicators[indicator.code] = indicator
    if exceptions:
        raise ValueError(f"data_points.csv names unknown indicators: {sorted(exceptions)}")
    return indicators


def _indicator(row: dict[str, str], exceptions: dict[str, Limits]) -> Indicator:
    multiplier = row.get("multiplier", "")
    return Indicator(
        code=row["code"],
        name=row["name"],
        dimension=row.get("dimension", ""),
        sub_dimension=row.get("sub_dimension", ""),
        category=row.get("category", ""),
        tier=row.get("tier", ""),
        type=row.get("type", ""),
        unit=row["unit"],
        per=row.get("per", ""),
        limits=read_limits(row["unece_unit"], row["value_range"]),
        data_points=tuple(filter(None, row["data_points"].split(";"))),
        direction=Direction(row.get("direction", Direction.NONE)),
        multiplier=Decimal(multiplier) if multiplier else None,
        exceptions=exceptions,
        definition=row.get("definition") or row["description"],
    )


def _check(indicator: Indicator, is_local: bool, units: UnitTable) -> None:
    code = indicator.code
    if indicator.is_local != is_local:
        raise ValueError(
            f"indicator {code!r}: local codes start with {LOCAL_PREFIX!r} and live in local_indicators.csv"
        )
    if len(set(indicator.data_points)) != len(indicator.data_points):
        raise ValueError(f"indicator {code!r}: a data point occurs twice")
    if stray := set(indicator.exceptions) - set(indicator.data_points):
        raise ValueError(
            f"indicator {code!r}: data_points.csv names points it does not have: {sorted(stray)}"
        )
    for limits in (indicator.limits, *indicator.exceptions.values()):
        unit = units.units.get(limits.unece_unit)
        if unit is None or unit.status == "X":
            raise ValueError(f"indicator {code!r}: unit {limits.unece_unit!r} is not a valid UNECE code")
