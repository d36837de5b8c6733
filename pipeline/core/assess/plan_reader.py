"""Reading an assessment plan from plain TOML values, with messages that name the key and the remedy."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline.core.assess.formulas import CITY_FORMULAS, FORMULAS, RECKONINGS, SHARE
from pipeline.core.assess.model import Kind, Period, Series
from pipeline.core.assess.nano import nano_of_text
from pipeline.core.assess.plan import ANY, CityPlan, FigureRule, Plan, SeriesRule, Target
from pipeline.core.assess.readings import unit_of
from pipeline.core.assess.windows import HOUR_MS, MAX_DATABLE_MS, Interval
from pipeline.core.names import is_country, is_text, parse_site_id, site_id_text
from pipeline.core.settings_table import Table
from schemas.catalogue import Direction, Indicator, catalogue

MAX_DURATION_MS: Final = 366 * 24 * HOUR_MS
_UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": HOUR_MS, "d": 24 * HOUR_MS}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LIMITED: Final = (
    Kind.COMPLETENESS,
    Kind.TIMELINESS,
    Kind.VALIDITY,
    Kind.TRACEABILITY,
    Kind.PLAUSIBILITY,
    Kind.AVAILABILITY,
    Kind.REPORTING,
)
EVERY: Final = ("all", "core")
"""Words for the indicators to be reported: all 91 of the catalogue, or its core ones."""


def read_plan(settings: Mapping[str, Any], where: str = "plan") -> Plan:
    """Check a plan given as plain TOML values; ``where`` is what messages begin with.

    Raises:
        ConfigError: a key is missing, unknown or wrong; the message names it and the remedy.
    """
    table = Table(settings, where)
    cities = tuple(_named_city(item) for item in table.tables("cities"))
    other = _city(table.table("other"), "", "") if "other" in settings else Plan().other
    table.done()
    names = [(city.country, city.city) for city in cities]
    if len(set(names)) != len(names):
        raise table.error("cities", "two of them have the same country and city; make them one")
    return Plan(cities, other)


def _named_city(table: Table) -> CityPlan:
    country, city = table.text("country"), table.text("city")
    if not is_country(country) or country not in catalogue().countries:
        raise table.error("country", f"is {country!r}; use an ISO 3166-1 alpha-2 code such as 'IT'")
    if not is_text(city):
        raise table.error("city", f"is {city!r}; write it as its sites are enrolled, e.g. 'unlocode:USSEA'")
    return _city(table, country, city)


def _city(table: Table, country: str, city: str) -> CityPlan:
    zone = _zone(table)
    plan = CityPlan(
        country,
        city,
        zone,
        windows=_periods(table),
        series=tuple(_series(item, zone) for item in table.tables("series")),
        figures=tuple(map(_figure, table.tables("figures"))),
        targets=tuple(map(_target, table.tables("targets"))),
        report=_report(table),
        scored=Period(table.choice("scored", tuple(Period), default=Period.YEAR)),
        limits=_limits(table),
    )
    table.done()
    for key, rules in (("figures", plan.figures), ("targets", plan.targets)):
        points = [(rule.indicator, rule.data_point) for rule in rules]
        if len(set(points)) != len(points):
            raise table.error(key, "two entries are about the same indicator and data point; remove one")
    return plan


def _zone(table: Table) -> tzinfo:
    name = table.text("zone", default="UTC")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise table.error("zone", f'is {name!r}; use a name such as "America/Chicago" or "UTC"') from None


def _periods(table: Table) -> tuple[Period, ...]:
    names = table.texts("windows", default=(Period.DAY, Period.MONTH))
    if not names or not set(names) <= set(Period):
        raise table.error(
            "windows", f"is {list(names)}; choose from {', '.join(repr(str(p)) for p in Period)}"
        )
    return tuple(period for period in Period if period in names)


def _series(table: Table, zone: tzinfo) -> SeriesRule:
    indicator, data_point = _matched_point(table)
    rule = SeriesRule(
        _site(table),
        indicator,
        data_point,
        interval=_interval(table),
        since=_instant(table, "since", zone, 0),
        until=_instant(table, "until", zone, MAX_DATABLE_MS),
        lateness_ms=_duration(table, "lateness"),
        low=_nano(table, "low"),
        high=_nano(table, "high"),
        step=_nano(table, "step"),
        values=_values(table),
    )
    table.done()
    if rule.low is not None and rule.high is not None and rule.low > rule.high:
        raise table.error("low", "is above high; swap them")
    if rule.step is not None and rule.step < 0:
        raise table.error("step", "is below 0; it is how far two following values may be apart")
    if rule.since >= rule.until:
        raise table.error("until", "is not after since")
    return rule


def _site(table: Table) -> str:
    text = table.text("site_id", default=ANY)
    try:
        return text if text == ANY else site_id_text(parse_site_id(text))
    except ValueError:
        raise table.error("site_id", f'is {text!r}; write it as enrolled, e.g. "fd62:6b64::1"') from None


def _matched_point(table: Table) -> tuple[str, str]:
    code = table.text("indicator", default=ANY)
    if code == ANY:
        return ANY, table.text("data_point", default=ANY)
    indicator = _indicator(table, code)
    data_point = table.text("data_point", default=ANY if indicator.data_points else "")
    return code, data_point if data_point == ANY else _checked_point(table, indicator, data_point)


def _indicator(table: Table, code: str, key: str = "indicator") -> Indicator:
    found = catalogue().find(code)
    if found is None:
        raise table.error(key, f"is {code!r}, which the catalogue does not have; see schemas/catalogue")
    return found


def _checked_point(table: Table, indicator: Indicator, data_point: str, key: str = "data_point") -> str:
    if indicator.limits_of(data_point) is None:
        points = ", ".join(indicator.data_points) or "none: leave the key out"
        raise table.error(key, f"is {data_point!r}; {indicator.code} has {points}")
    return data_point


def _interval(table: Table) -> Interval | None:
    text = table.text("interval", default="")
    if text in (Period.DAY, Period.MONTH, Period.YEAR):
        return Interval(0, Period(text))
    if text.endswith("d"):
        raise table.error("interval", f'is {text!r}; write "day", which follows the calendar, or hours')
    every = _duration(table, "interval")
    return None if every is None else Interval(every)


def _duration(table: Table, key: str) -> int | None:
    text = table.text(key, default="")
    if not text:
        return None
    match = _DURATION.fullmatch(text)
    length = int(match[1]) * _UNITS_MS[match[2]] if match else 0
    if not 0 < length <= MAX_DURATION_MS:
        raise table.error(key, f'is {text!r}; write a number and s, m, h or d, e.g. "10m", at most 366 days')
    return length


def _instant(table: Table, key: str, zone: tzinfo, default: int) -> int:
    text = table.text(key, default="")
    if not text:
        return default
    try:
        when = datetime.fromisoformat(text)
        time_ms = ((when if when.tzinfo else when.replace(tzinfo=zone)) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise table.error(key, f'is {text!r}; write it as "2026-03-20T11:00:00+01:00"') from None
    if not 0 <= time_ms <= MAX_DATABLE_MS:
        raise table.error(key, f"is {text!r}; use a time from 1970 to the year 8999")
    return time_ms


def _nano(table: Table, key: str) -> int | None:
    text = table.text(key, default="")
    if not text:
        return None
    value = nano_of_text(text)
    if value is None:
        raise table.error(key, f'is {text!r}; write a number of at most nine decimals in quotes, e.g. "0.5"')
    return value


def _values(table: Table) -> tuple[str, ...] | None:
    names = table.texts("values", default=("",))
    if names == ("",):
        return None
    if unknown := [name for name in names if name not in RECKONINGS]:
        raise table.error("values", f"has {unknown[0]!r}; choose from {', '.join(RECKONINGS)}")
    return tuple(dict.fromkeys(names))


def _figure(table: Table) -> FigureRule:
    indicator = _indicator(table, table.text("indicator"))
    source = _indicator(table, table.text("source"), "source")
    rule = FigureRule(
        indicator.code,
        _checked_point(table, indicator, table.text("data_point", default="")),
        table.choice("formula", CITY_FORMULAS),
        source.code,
        table.choice("value", tuple(RECKONINGS)),
        table.texts("part", default=()),
        table.texts("whole", default=()),
    )
    table.done()
    if rule.formula == SHARE and not (rule.part and set(rule.part) <= set(rule.whole)):
        raise table.error("part", 'must name data points that "whole" names too')
    if rule.formula != SHARE and (rule.part or (len(rule.whole) != 1 and source.data_points)):
        raise table.error("whole", "must name the one data point that is read, and part be left out")
    for point in rule.whole or ("",):
        _checked_point(table, source, point, "whole")
    _check_unit(table, rule)
    return rule


def _check_unit(table: Table, rule: FigureRule) -> None:
    target = unit_of(Series("", "", "", rule.indicator, rule.data_point))
    for point in rule.whole or ("",):
        read = unit_of(Series("", "", "", rule.source, point))
        unit = FORMULAS[rule.formula].unit or FORMULAS[rule.value].unit or read
        if unit != target:
            raise table.error("formula", f"gives a value in {unit}, but {rule.indicator} is in {target}")


def _target(table: Table) -> Target:
    indicator = _indicator(table, table.text("indicator"))
    lower_is_better = indicator.direction is Direction.DOWN
    target = Target(
        indicator.code,
        _checked_point(table, indicator, table.text("data_point", default="")),
        _decimal(table, "start", None if lower_is_better else "0"),
        _decimal(table, "target", None),
        is_ideal=indicator.direction is Direction.TARGET_ONE,
    )
    table.done()
    if indicator.direction is Direction.NONE:
        raise table.error("indicator", f"{indicator.code} is no indicator of Y.4903: no score uses it")
    if target.start == target.target:
        raise table.error("target", "is where the city started; there is no way to measure")
    if indicator.direction is Direction.UP and target.target < target.start:
        raise table.error("target", f"is below start, but higher is better for {indicator.code}")
    if lower_is_better and target.target > target.start:
        raise table.error("target", f"is above start, but lower is better for {indicator.code}")
    return target


def _decimal(table: Table, key: str, default: str | None) -> Decimal:
    text = table.text(key, default=default)
    if nano_of_text(text) is None:
        raise table.error(key, f'is {text!r}; write a number of at most nine decimals in quotes, e.g. "0.5"')
    return Decimal(text)


def _report(table: Table) -> tuple[str, ...]:
    names = table.texts("report", default=())
    known: Sequence[Indicator] = [item for item in catalogue().indicators.values() if not item.is_local]
    if names in (("all",), ("core",)):
        return tuple(sorted(item.code for item in known if names == ("all",) or item.tier == "core"))
    if unknown := set(names) - {item.code for item in known}:
        raise table.error(
            "report", f'has {min(unknown)!r}; list codes of Y.4903, or write ["all"] or ["core"]'
        )
    return tuple(sorted(set(names)))


def _limits(table: Table) -> tuple[tuple[Kind, Decimal], ...]:
    found = table.table("limits", optional=True)
    limits = tuple((kind, _decimal(found, kind, "0")) for kind in _LIMITED)
    found.done()
    for kind, limit in limits:
        if not 0 <= limit <= 100:
            raise found.error(kind, f"is {limit}; use a percentage from 0 to 100")
    return tuple((kind, limit) for kind, limit in limits if limit)
