"""A city's values of indicators, out of its sites' values, and the verifier's rules over them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, NamedTuple

from pipeline.core.assess.figures import Maker, Subject, Support, joined, of_valid
from pipeline.core.assess.formulas import FORMULAS, MEAN_OF_SITES, SHARE
from pipeline.core.assess.model import Assessment, Finding, Kind, Series
from pipeline.core.assess.plan import CityPlan, FigureRule
from pipeline.core.assess.readings import limits_of, unit_of
from pipeline.core.assess.summary import SeriesSummary, Share, value_names
from schemas.catalogue import catalogue

SHARES_TOLERANCE: Final = 2
"""Percentage points by which shares may miss 100."""
SHARED_INDICATORS: Final = ("EC: I: T: 4A", "EN: EN: WA: 1C")
"""Indicators whose data points are shares of one whole: ways of travelling, ways of treating waste."""


class Point(NamedTuple):
    """An indicator's data point."""

    indicator: str
    data_point: str = ""


@dataclass(frozen=True, slots=True)
class _Order:
    part: Point
    whole: Point
    may_equal: bool


_TREATMENT: Final = "EN: EN: WS: 4C"
ORDERS: Final = (
    _Order(Point(_TREATMENT, "secondary"), Point(_TREATMENT, "primary"), may_equal=True),
    _Order(Point(_TREATMENT, "tertiary"), Point(_TREATMENT, "secondary"), may_equal=True),
    _Order(Point("EC: I: WS: 2C"), Point("EC: I: WS: 1C"), may_equal=False),
)
"""What is part of what: secondary treatment of primary, tertiary of secondary, potable water of basic water."""


@dataclass(frozen=True, slots=True)
class CityValue:
    """A city's value of one data point, how it was made, and what it rests on; ``sites`` with a value out of ``of``."""

    value: Fraction
    formula: str
    sites: Share
    support: Support
    finding: Finding = Finding.NONE


def city_values(plan: CityPlan, summaries: Sequence[SeriesSummary]) -> dict[Point, CityValue]:
    """Return the city's values: those that the plan makes, and of other Y.4903 indicators the mean over sites."""
    found: dict[Point, CityValue] = {}
    by_point: dict[Point, list[SeriesSummary]] = {}
    for summary in sorted(summaries, key=lambda item: item.series):
        by_point.setdefault(Point(*summary.series[3:]), []).append(summary)
    planned = {Point(rule.indicator, rule.data_point): rule for rule in plan.figures}
    for point, rule in planned.items():
        value = _planned(rule, by_point)
        if value is not None:
            found[point] = value
    for point, parts in by_point.items():
        indicator = catalogue().find(point.indicator)
        if point in planned or indicator is None or indicator.is_local:
            continue
        value = _combined(MEAN_OF_SITES, parts, [_first_value(plan, part) for part in parts])
        if value is not None:
            found[point] = value
    return {point: _in_range(point, found[point]) for point in sorted(found)}


def _first_value(plan: CityPlan, summary: SeriesSummary) -> Fraction | None:
    names = value_names(plan.rule_of(summary.series), summary.series)
    return summary.values.get(names[0]) if names else None


def _combined(
    formula: str, parts: Sequence[SeriesSummary], values: Sequence[Fraction | None]
) -> CityValue | None:
    used = [(part, value) for part, value in zip(parts, values, strict=True) if value is not None]
    if not used:
        return None
    total = sum((value for _, value in used), Fraction(0))
    return CityValue(
        total / len(used) if formula == MEAN_OF_SITES else total,
        formula,
        Share(len(used), len(parts)),
        joined(of_valid(part) for part, _ in used),
    )


def _planned(rule: FigureRule, by_point: Mapping[Point, Sequence[SeriesSummary]]) -> CityValue | None:
    points = [Point(rule.source, name) for name in rule.whole or ("",)]
    parts = [summary for point in points for summary in by_point.get(point, ())]
    values = [summary.values.get(rule.value) for summary in parts]
    if rule.formula != SHARE:
        return _combined(rule.formula, parts, values)
    # A share needs all that it is a share of: one data point missing would make it too large.
    known = {part.series.data_point for part, value in zip(parts, values, strict=True) if value is not None}
    whole = _combined(SHARE, parts, values)
    if whole is None or known != set(rule.whole) or whole.value <= 0:
        return None
    part = sum(
        (
            value
            for summary, value in zip(parts, values, strict=True)
            if value is not None and summary.series.data_point in rule.part
        ),
        Fraction(0),
    )
    return replace(whole, value=100 * part / whole.value)


def _in_range(point: Point, value: CityValue) -> CityValue:
    limits = limits_of(Series("", "", "", *point))
    if limits is None or (
        (limits.low is None or value.value >= Fraction(limits.low))
        and (limits.high is None or value.value <= Fraction(limits.high))
    ):
        return value
    return _doubted(value, Finding.OUT_OF_RANGE)


def _doubted(value: CityValue, finding: Finding) -> CityValue:
    return replace(value, finding=finding, support=replace(value.support, verified=False))


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of the verifier, applied: about which data point, over which, and what is wrong if it fails."""

    about: Point
    over: tuple[Point, ...]
    formula: str
    finding: Finding


def checks(values: Mapping[Point, CityValue]) -> list[Check]:
    """Apply the verifier's rules to all values that they are about."""
    return [*_share_checks(values), *_order_checks(values)]


def _share_checks(values: Mapping[Point, CityValue]) -> Iterator[Check]:
    for code in SHARED_INDICATORS:
        indicator = catalogue().indicators[code]
        over = tuple(point for name in indicator.data_points if (point := Point(code, name)) in values)
        total = sum((values[point].value for point in over), Fraction(0))
        too_much = total > 100 + SHARES_TOLERANCE
        # Until all shares are there, only too much of them is a contradiction.
        if over and (too_much or len(over) == len(indicator.data_points)):
            wrong = too_much or total < 100 - SHARES_TOLERANCE
            finding = Finding.SHARES_DO_NOT_ADD_UP if wrong else Finding.NONE
            yield Check(Point(code), over, "shares_add_up", finding)


def _order_checks(values: Mapping[Point, CityValue]) -> Iterator[Check]:
    for order in ORDERS:
        if order.part not in values or order.whole not in values:
            continue
        part, whole = values[order.part].value, values[order.whole].value
        wrong = part > whole or (part == whole and not order.may_equal)
        finding = Finding.MORE_THAN_ITS_WHOLE if wrong else Finding.NONE
        yield Check(order.part, (order.part, order.whole), "part_of_whole", finding)


def judged(values: Mapping[Point, CityValue], applied: Sequence[Check]) -> dict[Point, CityValue]:
    """Return the values, those that a failed check is over no longer verified."""
    doubts = {point: check.finding for check in applied if check.finding for point in check.over}
    return {
        point: _doubted(value, value.finding or doubts[point]) if point in doubts else value
        for point, value in values.items()
    }


def city_figures(
    make: Maker, values: Mapping[Point, CityValue], applied: Sequence[Check]
) -> Iterator[Assessment]:
    """Return the city's values and what the verifier's rules say of them."""
    for point, value in values.items():
        unit = FORMULAS[value.formula].unit or unit_of(Series("", "", "", *point))
        yield make.value(
            Subject("", *point),
            Kind.VALUE,
            value.formula,
            value=value.value,
            unit=unit,
            share=value.sites,
            support=value.support,
            finding=value.finding,
        )
    for check in applied:
        support = joined(values[point].support for point in check.over)
        share = Share(0 if check.finding else 1, 1)
        yield make.share(
            Subject("", *check.about),
            Kind.PLAUSIBILITY,
            check.formula,
            share=share,
            support=support,
            finding=check.finding,
        )
