"""Reporting, points and scores of a city (U4SSC): how many indicators are reported and how near their targets are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from pipeline.core.assess.city import CityValue, Point
from pipeline.core.assess.figures import Maker, Subject, Support, joined
from pipeline.core.assess.model import PERCENT, Assessment, Finding, Kind
from pipeline.core.assess.plan import CityPlan, Target
from pipeline.core.assess.summary import Share
from schemas.catalogue import catalogue

MAX_POINTS: Final = 4
POINT_LIMITS: Final = (33, 66, 95)
"""Percentages from which on there are 2, 3 and 4 points; below the first there is 1."""
MAX_UNREPORTED_PERCENT: Final = 20
"""More indicators than that without a value deserve a look."""
PLACE_SEPARATOR: Final = " > "
"""Between dimension, sub-dimension and category in the name of a place in the catalogue's tree."""


def points_of(percent: Fraction) -> int:
    """Return the points, 1 to 4, for a percentage of a target; also the band that a score falls in."""
    return 1 + sum(percent >= limit for limit in POINT_LIMITS)


def score_of(points: Sequence[int]) -> Fraction:
    """Return the score of at least one indicator's points in per cent of the maximum."""
    return Fraction(100 * sum(points), MAX_POINTS * len(points))


@dataclass(frozen=True, slots=True)
class Scored:
    """An indicator's way to its target in per cent, and what that rests on."""

    indicator: str
    percent: Fraction
    support: Support

    @property
    def points(self) -> int:
        """Its points, 1 to 4."""
        return points_of(self.percent)


def scored(plan: CityPlan, values: Mapping[Point, CityValue]) -> list[Scored]:
    """Return every indicator that has a target and a value.

    Of several data points with both, each counts for as much, and for 0 to 100 %, so that none hides another.
    """
    by_indicator: dict[str, list[tuple[Target, CityValue]]] = {}
    for target in plan.targets:
        value = values.get(Point(target.indicator, target.data_point))
        if value is not None:
            by_indicator.setdefault(target.indicator, []).append((target, value))
    found = []
    for code, parts in sorted(by_indicator.items()):
        percents = [target.percent(value.value) for target, value in parts]
        if len(percents) > 1:
            percents = [min(max(percent, Fraction(0)), Fraction(100)) for percent in percents]
        support = joined(value.support for _, value in parts)
        found.append(Scored(code, sum(percents, Fraction(0)) / len(percents), support))
    return found


def score_figures(make: Maker, values: Mapping[Point, CityValue]) -> Iterator[Assessment]:
    """Return reporting, ways to targets, and the scores of categories, sub-dimensions and dimensions.

    A score is the points of the indicators below it of the points that they could have; indicators without value or
    without target are left out.
    """
    yield from _reporting(make, values)
    places: dict[str, list[Scored]] = {}
    for item in scored(make.plan, values):
        finding = Finding.WORSE_THAN_START if item.percent < 0 else Finding.NONE
        share = Share(item.points, MAX_POINTS)
        yield make.value(
            Subject("", item.indicator),
            Kind.TARGET,
            "percent_of_target",
            value=item.percent,
            unit=PERCENT,
            share=share,
            support=item.support,
            finding=finding,
        )
        for place in places_of(item.indicator):
            places.setdefault(place, []).append(item)
    for place, items in sorted(places.items()):
        share = Share(sum(item.points for item in items), MAX_POINTS * len(items))
        support = joined(item.support for item in items)
        yield make.share(Subject("", place), Kind.SCORE, "points_of_maximum", share=share, support=support)


def places_of(code: str) -> tuple[str, str, str]:
    """Return the places above an indicator in the catalogue's tree: dimension, sub-dimension, category."""
    indicator = catalogue().indicators[code]
    sub_dimension = PLACE_SEPARATOR.join((indicator.dimension, indicator.sub_dimension))
    return indicator.dimension, sub_dimension, PLACE_SEPARATOR.join((sub_dimension, indicator.category))


def _reporting(make: Maker, values: Mapping[Point, CityValue]) -> Iterator[Assessment]:
    wanted = make.plan.report
    if not wanted:
        return
    reported = {point.indicator for point in values} & set(wanted)
    missing = len(wanted) - len(reported)
    too_few = 100 * missing > MAX_UNREPORTED_PERCENT * len(wanted)
    support = joined(value.support for point, value in values.items() if point.indicator in reported)
    yield make.share(
        Subject(),
        Kind.REPORTING,
        "reported",
        share=Share(len(reported), len(wanted)),
        support=support,
        finding=Finding.NOT_REPORTED if too_few else Finding.NONE,
    )
