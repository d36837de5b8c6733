"""Assessment plans: what a city may write, and what a mistake is answered with."""

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.core.assess.figures import KIND_OF_SHARE
from pipeline.core.assess.formulas import CITY_FORMULAS, FORMULAS, RECKONINGS
from pipeline.core.assess.model import Kind, Period, Series
from pipeline.core.assess.plan import DEFAULT_PLAN, SeriesRule
from pipeline.core.assess.plan_reader import read_plan
from pipeline.core.assess.windows import Interval
from pipeline.core.errors import ConfigError
from tests.support.assess_rows import CITY, COUNTRY, DAY, FLOW, HOUR, at, plan_of

FIGURE = {
    "indicator": "EC: I: T: 5A",
    "formula": "mean_of_sites",
    "source": "LOCAL:TRAVEL_TIME",
    "value": "median",
}
TARGET = {"indicator": "EC: I: T: 5A", "start": "4", "target": "1.5"}
SHARE = {
    "indicator": "LOCAL:RENEWABLE_SHARE",
    "formula": "share",
    "source": "LOCAL:ELECTRICITY_GENERATION",
    "value": "sum",
    "part": ["renewable"],
    "whole": ["fossil", "renewable"],
}


def rule_of(**settings: Any) -> SeriesRule:
    """Return a series rule as it is read."""
    return plan_of(settings).cities[0].series[0]


def test_a_rule_says_what_is_expected() -> None:
    rule = rule_of(
        site_id="fd62:0:0::1",
        indicator=FLOW,
        interval="5m",
        since="2022-03-20T11:00:00+01:00",
        until="2022-03-21",
        lateness="2d",
        low="-0.5",
        high="120",
        step="25",
        values=["mean", "mean", "sum"],
    )
    assert rule == SeriesRule(
        "fd62::1",
        FLOW,
        "",
        Interval(300_000),
        at("2022-03-20T10:00:00Z"),
        at("2022-03-21"),
        2 * DAY,
        -500_000_000,
        120_000_000_000,
        25_000_000_000,
        ("mean", "sum"),
    )


def test_a_time_without_offset_is_in_the_citys_zone() -> None:
    plan = plan_of({"since": "2022-07-01"}, zone="Europe/Rome")
    assert plan.cities[0].series[0].since == at("2022-06-30T22:00:00Z")
    assert plan.cities[0].zone == ZoneInfo("Europe/Rome")


@pytest.mark.parametrize(
    ("text", "interval"),
    [("90s", Interval(90_000)), ("2h", Interval(2 * HOUR)), ("day", Interval(0, Period.DAY)), ("", None)],
)
def test_intervals(text: str, interval: Interval | None) -> None:
    assert rule_of(interval=text).interval == interval


def test_a_rule_without_names_is_about_everything() -> None:
    rule = rule_of(interval="1h")
    assert rule.matches(Series(COUNTRY, CITY, "10.0.0.1", "EC: I: T: 4A", "public"))
    assert not rule.is_of_one_series


def test_an_indicator_without_data_points_has_the_empty_one() -> None:
    assert rule_of(site_id="10.0.0.1", indicator=FLOW).is_of_one_series
    assert not rule_of(site_id="10.0.0.1", indicator="EC: I: T: 4A").is_of_one_series


def test_windows_are_ordered_and_once() -> None:
    assert plan_of(windows=["year", "day", "day"]).cities[0].windows == (Period.DAY, Period.YEAR)


def test_limits_are_percentages_by_kind() -> None:
    assert plan_of(limits={"validity": "99.5"}).cities[0].limits == ((Kind.VALIDITY, Decimal("99.5")),)


def test_cities_without_a_part_get_that_of_others() -> None:
    plan = read_plan({"other": {"windows": ["hour"], "zone": "Asia/Tokyo"}})
    part = plan.of_city("IT", "x:y")
    assert (part.country, part.city, part.windows, str(part.zone)) == (
        "IT",
        "x:y",
        (Period.HOUR,),
        "Asia/Tokyo",
    )


def test_an_empty_plan_is_the_default_one() -> None:
    assert read_plan({}) == DEFAULT_PLAN


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"site_id": "nowhere"}, "plan.cities[0].series[0].site_id: is 'nowhere'"),
        ({"indicator": "EC: X"}, "series[0].indicator: is 'EC: X'"),
        ({"indicator": FLOW, "data_point": "x"}, "data_point: is 'x'"),
        ({"interval": "5"}, "interval: is '5'"),
        ({"interval": "1d"}, "interval: is '1d'; write \"day\""),
        ({"interval": "0m"}, "interval: is '0m'"),
        ({"lateness": "9999h"}, "lateness: is '9999h'"),
        ({"since": "yesterday"}, "since: is 'yesterday'"),
        ({"since": "1960-01-01"}, "since: is '1960-01-01'"),
        ({"since": "2022-01-02", "until": "2022-01-02"}, "until: is not after since"),
        ({"low": "few"}, "low: is 'few'"),
        ({"low": "2", "high": "1"}, "low: is above high"),
        ({"step": "-1"}, "step: is below 0"),
        ({"values": ["average"]}, "values: has 'average'"),
        ({"intervall": "1h"}, "intervall: is not a setting"),
    ],
)
def test_a_mistake_in_a_rule_is_named(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(rule)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("city", "message"),
    [
        ({"country": "XX"}, "country: is 'XX'"),
        ({"country": "us"}, "country: is 'us'"),
        ({"city": "New York"}, "city: is 'New York'"),
        ({"zone": "Mars/Base"}, "zone: is 'Mars/Base'"),
        ({"windows": ["week"]}, "windows: is ['week']"),
        ({"windows": []}, "windows: is []"),
        ({"scored": "week"}, "scored: is 'week'"),
        ({"report": ["EC: X"]}, "report: has 'EC: X'"),
        ({"report": [FLOW]}, f"report: has '{FLOW}'"),
        ({"limits": {"validity": "101"}}, "limits.validity: is 101"),
        ({"limits": {"beauty": "1"}}, "limits.beauty: is not a setting"),
        ({"figures": [FIGURE | {"formula": "guess"}]}, "formula: is 'guess'"),
        ({"figures": [FIGURE]}, "gives a value in SEC, but EC: I: T: 5A is in C62"),
        ({"figures": [FIGURE | {"value": "travel_time_index"}] * 2}, "figures: two entries"),
        ({"figures": [FIGURE | {"source": "LOCAL:X"}]}, "source: is 'LOCAL:X'"),
        ({"figures": [SHARE | {"part": ["wind"]}]}, "part: must name data points"),
        ({"figures": [SHARE | {"part": []}]}, "part: must name data points"),
        ({"figures": [SHARE | {"whole": ["wind", "renewable"]}]}, "whole: is 'wind'"),
        ({"figures": [SHARE | {"formula": "sum_of_sites"}]}, "whole: must name the one data point"),
        ({"targets": [TARGET | {"target": "4"}]}, "target: is where the city started"),
        ({"targets": [TARGET | {"target": "5"}]}, "lower is better for EC: I: T: 5A"),
        ({"targets": [{"indicator": "EC: I: T: 5A", "target": "1"}]}, "start: is missing"),
        ({"targets": [{"indicator": "EC: ICT: D: 1A", "start": "50", "target": "40"}]}, "higher is better"),
        ({"targets": [TARGET | {"target": "much"}]}, "target: is 'much'"),
        ({"targets": [TARGET, TARGET]}, "targets: two entries"),
        ({"targets": [{"indicator": "EC: I: T: 4A", "target": "1"}]}, "data_point: is ''"),
    ],
)
def test_a_mistake_in_a_citys_part_is_named(city: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(**city)
    assert message in str(caught.value)


def test_a_city_occurs_once() -> None:
    city = {"country": COUNTRY, "city": CITY}
    with pytest.raises(ConfigError, match="the same country and city"):
        read_plan({"cities": [city, city]})


def test_the_digest_tells_plans_apart_and_is_the_same_for_the_same() -> None:
    rules: tuple[dict[str, Any], ...] = (
        {},
        {"interval": "1h"},
        {"interval": "2h"},
        {"low": "1"},
        {"step": "1"},
    )
    digests = [plan_of(rule).digest for rule in rules]
    assert len({DEFAULT_PLAN.digest, *digests}) == len(digests) + 1
    assert digests == [plan_of(rule).digest for rule in rules]
    assert {len(digest) for digest in digests} == {32}


@pytest.mark.parametrize(("name", "value"), [("FORMULAS_VERSION", 0), ("_catalogue_text", lambda: "another")])
def test_other_formulas_or_another_catalogue_have_another_digest(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = DEFAULT_PLAN.digest
    monkeypatch.setattr(f"pipeline.core.assess.plan.{name}", value)
    assert before != DEFAULT_PLAN.digest


def test_every_formula_that_figures_name_is_explained() -> None:
    used = {*RECKONINGS, *CITY_FORMULAS, *KIND_OF_SHARE}
    used |= {"shares_add_up", "part_of_whole", "reported", "percent_of_target", "points_of_maximum"}
    assert used == set(FORMULAS)
