"""A city's values, the verifier's rules over them, points and scores (U4SSC)."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from pipeline.core.assess.model import Finding, Kind
from pipeline.core.assess.scoring import places_of, points_of, score_of
from pipeline.core.errors import ConfigError
from schemas.catalogue import catalogue
from tests.support.assess_rows import MINUTE, Figures, at, plan_of, row, yearly

ENERGY = ("EN: E: E: 1C", "EN: E: E: 2C", "EN: E: E: 3C", "EN: E: E: 4A")
PUBLIC = ("EC: ICT: PS: 1A", "EC: ICT: PS: 2A", "EC: ICT: PS: 3A")
SHARES = {
    "landfill": "40",
    "burnt": "0",
    "incinerated": "30",
    "open_dump": "0",
    "recycled": "25",
    "other": "5",
}
WASTE, MODES, TREATMENT = "EN: EN: WA: 1C", "EC: I: T: 4A", "EN: EN: WS: 4C"
BASIC, POTABLE = "EC: I: WS: 1C", "EC: I: WS: 2C"


def percents(values: dict[tuple[str, str], str]) -> Figures:
    """Return the figures of a year with these percentages."""
    return Figures(
        plan_of(windows=["year"]), yearly({point: (value, "P1") for point, value in values.items()})
    )


def shares(code: str, values: dict[str, str]) -> Figures:
    """Return the figures of a year with these shares of an indicator."""
    return percents({(code, point): value for point, value in values.items()})


@pytest.mark.parametrize(
    ("percent", "points"),
    [
        ("-50", 1),
        ("0", 1),
        ("32.999", 1),
        ("33", 2),
        ("65.999", 2),
        ("66", 3),
        ("94.999", 3),
        ("95", 4),
        ("180", 4),
    ],
)
def test_points_for_a_percentage_of_the_target(percent: str, points: int) -> None:
    assert points_of(Fraction(percent)) == points


def test_worked_example_of_9_of_16_points_is_56_25_percent_between_33_and_66() -> None:
    score = score_of((1, 3, 4, 1))
    assert (score, points_of(score)) == (Fraction("56.25"), 2)


def test_worked_example_of_9_of_12_points_is_75_percent() -> None:
    assert score_of((3, 4, 2)) == 75


def scored(codes: Sequence[str], percent: Sequence[int], **city: Any) -> Figures:
    """Return the figures of a city whose indicators are so many per cent of the way from 200 or 0 to 100."""
    targets, values = [], {}
    for code, share in zip(codes, percent, strict=True):
        lower = catalogue().indicators[code].direction.value == "down"
        point = "percent" if code == PUBLIC[0] else ""
        unit = catalogue().indicators[code].unece_unit
        values[code, point] = (str(200 - share if lower else share), unit)
        targets.append(
            {"indicator": code, "data_point": point, "start": "200" if lower else "0", "target": "100"}
        )
    return Figures(plan_of(windows=["year"], targets=targets, **city), yearly(values))


def test_worked_example_from_values_to_the_category_score() -> None:
    """Lower is better for three of the four: 1 + 3 + 4 + 1 of 16 points."""
    figures = scored(ENERGY, (10, 70, 95, 32))
    assert [figure.achieved for figure in figures.found(Kind.TARGET)] == [1, 3, 4, 1]
    for place in places_of(ENERGY[0]):
        score = figures.one(Kind.SCORE, indicator=place)
        assert (score.achieved, score.possible, score.exact, score.unit) == (9, 16, "56.25", "P1")


def test_second_worked_example_from_values_to_the_category_score() -> None:
    score = scored(PUBLIC, (66, 100, 33)).one(Kind.SCORE, indicator=places_of(PUBLIC[0])[2])
    assert (score.achieved, score.possible, score.exact) == (9, 12, "75")


def test_a_sub_dimension_counts_all_points_below_it_and_not_the_mean_of_its_categories() -> None:
    codes = (*PUBLIC, "EC: ICT: D: 1A")
    figures = scored(codes, (66, 100, 33, 10))
    assert figures.one(Kind.SCORE, indicator="Economy > ICT").exact == "62.5"
    assert figures.one(Kind.SCORE, indicator="Economy > ICT > Public Sector").exact == "75"
    assert figures.one(Kind.SCORE, indicator="Economy > ICT > Drainage").exact == "25"


def test_indicators_without_value_or_target_are_left_out() -> None:
    targets = [
        {"indicator": code, "start": "0", "target": "100"}
        for code in ("EC: ICT: ICT: 1C", "EC: ICT: ICT: 2C")
    ]
    values = {("EC: ICT: ICT: 1C", ""): ("70", "P1"), ("EC: I: WS: 1C", ""): ("90", "P1")}
    figures = Figures(plan_of(windows=["year"], targets=targets), yearly(values))
    found = figures.found(Kind.SCORE)
    assert {figure.indicator for figure in found} == set(places_of("EC: ICT: ICT: 1C"))
    assert {(figure.achieved, figure.possible) for figure in found} == {(3, 4)}


def test_lower_is_better_is_measured_from_the_start() -> None:
    targets = [{"indicator": "EC: I: T: 5A", "start": "4", "target": "1.5"}]
    figures = Figures(
        plan_of(windows=["year"], targets=targets), yearly({("EC: I: T: 5A", ""): ("2", "C62")})
    )
    target = figures.one(Kind.TARGET)
    assert (target.exact, target.achieved, target.possible, target.finding) == ("80", 3, 4, Finding.NONE)


def test_being_worse_than_at_the_start_is_noted_and_gives_one_point() -> None:
    targets = [{"indicator": "EC: I: T: 5A", "start": "4", "target": "1.5"}]
    figures = Figures(
        plan_of(windows=["year"], targets=targets), yearly({("EC: I: T: 5A", ""): ("5", "C62")})
    )
    target = figures.one(Kind.TARGET)
    assert (target.exact, target.achieved, target.finding) == ("-40", 1, Finding.WORSE_THAN_START)


@pytest.mark.parametrize(("value", "percent"), [("0.5", "0"), ("0.75", "50"), ("1", "100"), ("1.25", "50")])
def test_where_one_is_best_too_much_is_as_bad_as_too_little(value: str, percent: str) -> None:
    targets = [{"indicator": "SC: SH: SI: 1C", "start": "0.5", "target": "1"}]
    figures = Figures(
        plan_of(windows=["year"], targets=targets), yearly({("SC: SH: SI: 1C", ""): (value, "C62")})
    )
    assert figures.one(Kind.TARGET).exact == percent


def test_data_points_of_an_indicator_count_alike_and_hide_nothing() -> None:
    """4 times the target of one and none of the other is half of the way, not twice."""
    code = "EC: ICT: ICT: 4C"
    targets = [
        {"indicator": code, "data_point": point, "target": target}
        for point, target in (("3g", "20"), ("4g", "50"))
    ]
    figures = Figures(
        plan_of(windows=["year"], targets=targets),
        yearly({(code, "3g"): ("80", "P1"), (code, "4g"): ("0", "P1")}),
    )
    assert (figures.one(Kind.TARGET).exact, figures.one(Kind.TARGET).achieved) == ("50", 2)


def test_scores_are_made_in_the_window_that_the_plan_names() -> None:
    targets = [{"indicator": "EC: ICT: ICT: 1C", "target": "100"}]
    rows = yearly({("EC: ICT: ICT: 1C", ""): ("70", "P1")})
    assert {
        figure.window.period.value
        for figure in Figures(plan_of(windows=["day", "month", "year"], targets=targets), rows).found(
            Kind.SCORE
        )
    } == {"year"}
    monthly = plan_of(windows=["day", "month"], targets=targets, scored="month")
    assert {figure.window.period.value for figure in Figures(monthly, rows).found(Kind.SCORE)} == {"month"}


@pytest.mark.parametrize(("reported", "finding"), [(4, Finding.NONE), (3, Finding.NOT_REPORTED)])
def test_more_than_20_percent_not_reported_is_noted(reported: int, finding: Finding) -> None:
    wanted = ["EC: ICT: ICT: 1C", "EC: ICT: ICT: 2C", "EC: ICT: D: 1A", "EC: ICT: ES: 1C", "EC: ICT: ES: 2A"]
    rows = yearly({(code, ""): ("50", "P1") for code in wanted[:reported]})
    figure = Figures(plan_of(windows=["year"], report=wanted), rows).one(Kind.REPORTING)
    assert (figure.achieved, figure.possible, figure.finding) == (reported, 5, finding)


def test_where_nothing_is_reported_nothing_is_verified() -> None:
    figure = Figures(plan_of(windows=["year"], report=["EC: ICT: ICT: 1C"]), [row("2025-06-01", "1")])
    reporting = figure.one(Kind.REPORTING)
    assert (reporting.achieved, reporting.verified, reporting.quality, reporting.traces.count) == (
        0,
        False,
        0,
        0,
    )


@pytest.mark.parametrize(("word", "count"), [("all", 91), ("core", 55)])
def test_a_plan_may_ask_for_all_or_the_core_indicators(word: str, count: int) -> None:
    rows = yearly({("EC: ICT: ICT: 1C", ""): ("50", "P1")})
    figure = Figures(plan_of(windows=["year"], report=[word]), rows).one(Kind.REPORTING)
    assert (figure.achieved, figure.possible) == (1, count)


@pytest.mark.parametrize(
    ("recycled", "finding"),
    [
        ("25", Finding.NONE),
        ("27", Finding.NONE),
        ("23", Finding.NONE),
        ("27.01", Finding.SHARES_DO_NOT_ADD_UP),
        ("22.99", Finding.SHARES_DO_NOT_ADD_UP),
    ],
)
def test_shares_of_waste_add_up_to_100_give_or_take_2(recycled: str, finding: Finding) -> None:
    figures = shares(WASTE, SHARES | {"recycled": recycled})
    check = figures.one(Kind.PLAUSIBILITY, "shares_add_up", indicator=WASTE, site_id="")
    assert (check.finding, check.verified) == (finding, not finding)
    values = figures.found(Kind.VALUE, site_id="", indicator=WASTE)
    assert len(values) == 6
    assert {(value.finding, value.verified) for value in values} == {(finding, not finding)}


def test_ways_of_travelling_are_shares_too() -> None:
    modes = {"private": "50", "public": "30", "walking": "10", "cycling": "5", "para": "1"}
    assert (
        shares(MODES, modes).one(Kind.PLAUSIBILITY, "shares_add_up").finding is Finding.SHARES_DO_NOT_ADD_UP
    )


def test_shares_that_are_not_all_there_are_judged_only_when_they_are_too_much() -> None:
    assert shares(MODES, {"private": "50"}).found(Kind.PLAUSIBILITY) == []
    too_much = shares(MODES, {"private": "60", "public": "60"})
    assert too_much.one(Kind.PLAUSIBILITY).finding is Finding.SHARES_DO_NOT_ADD_UP


@pytest.mark.parametrize(
    ("part", "whole", "values", "wrong"),
    [
        ((TREATMENT, "secondary"), (TREATMENT, "primary"), ("50", "50"), False),
        ((TREATMENT, "secondary"), (TREATMENT, "primary"), ("50.1", "50"), True),
        ((TREATMENT, "tertiary"), (TREATMENT, "secondary"), ("10", "10"), False),
        ((TREATMENT, "tertiary"), (TREATMENT, "secondary"), ("11", "10"), True),
        ((POTABLE, ""), (BASIC, ""), ("89", "90"), False),
        ((POTABLE, ""), (BASIC, ""), ("90", "90"), True),
    ],
)
def test_parts_are_not_more_than_their_wholes(
    part: tuple[str, str], whole: tuple[str, str], values: tuple[str, str], wrong: bool
) -> None:
    """Secondary treatment of primary, tertiary of secondary; potable water is less than basic water."""
    check = percents({part: values[0], whole: values[1]}).one(Kind.PLAUSIBILITY, "part_of_whole")
    assert (check.indicator, check.data_point) == part
    assert (check.finding is Finding.MORE_THAN_ITS_WHOLE, check.achieved) == (wrong, int(not wrong))


def test_a_contradiction_makes_targets_and_scores_not_verified() -> None:
    targets = [{"indicator": POTABLE, "target": "100"}, {"indicator": "EC: ICT: ICT: 1C", "target": "100"}]
    rows = yearly({(code, ""): ("90", "P1") for code in (BASIC, POTABLE, "EC: ICT: ICT: 1C")})
    figures = Figures(plan_of(windows=["year"], targets=targets), rows)
    verified = {figure.indicator: figure.verified for figure in figures.found(Kind.TARGET)}
    assert verified == {POTABLE: False, "EC: ICT: ICT: 1C": True}
    assert figures.one(Kind.SCORE, indicator="Economy > ICT").verified
    assert not figures.one(Kind.SCORE, indicator="Economy").verified


def test_of_several_sites_the_citys_value_is_their_mean() -> None:
    code = "EN: EN: AQ: 1C"
    rows = [
        row(
            "2025-06-01",
            value,
            indicator=code,
            data_point="no2",
            unit="GQ",
            site_id=f"10.0.0.{value}",
            number=number,
        )
        for number, value in enumerate(("10", "11", "15"))
    ]
    figure = Figures(plan_of(windows=["year"]), rows).one(Kind.VALUE, "mean_of_sites", site_id="")
    assert (figure.value, figure.achieved, figure.possible) == (Decimal(12), 3, 3)


def travel(*values: str, site_id: str) -> list[Any]:
    """Return a site's readings of travel time: off peak, and the last two on a Monday at 8."""
    days = [
        *("2025-06-02T03:00", "2025-06-02T04:00", "2025-06-02T05:00"),
        "2025-06-02T08:00",
        "2025-06-02T08:30",
    ]
    return [
        row(time, value, indicator="LOCAL:TRAVEL_TIME", unit="SEC", site_id=site_id)
        for time, value in zip(days, values, strict=True)
    ]


TRAVEL_FIGURE = {
    "indicator": "EC: I: T: 5A",
    "formula": "mean_of_sites",
    "source": "LOCAL:TRAVEL_TIME",
    "value": "travel_time_index",
}


def test_a_planned_figure_is_made_of_the_sites_values() -> None:
    plan = plan_of({"values": ["travel_time_index"]}, windows=["year"], figures=[TRAVEL_FIGURE])
    rows = travel("100", "100", "100", "200", "200", site_id="10.0.0.1")
    rows += travel("100", "100", "100", "300", "300", site_id="10.0.0.2")
    figure = Figures(plan, rows).one(Kind.VALUE, site_id="", indicator="EC: I: T: 5A")
    assert (figure.exact, figure.unit, figure.achieved, figure.traces.count) == ("2.5", "C62", 2, 5)


def test_a_planned_figure_replaces_what_sites_report_of_the_indicator() -> None:
    plan = plan_of({"values": ["travel_time_index"], "indicator": "LOCAL:TRAVEL_TIME"}, windows=["year"],
                   figures=[TRAVEL_FIGURE])  # fmt: skip
    rows = travel("100", "100", "100", "200", "200", site_id="10.0.0.1")
    rows += yearly({("EC: I: T: 5A", ""): ("9", "C62")}, site_id="10.0.0.3")
    assert Figures(plan, rows).one(Kind.VALUE, site_id="", indicator="EC: I: T: 5A").exact == "2"


def test_a_figure_outside_its_indicators_range_is_noted() -> None:
    """Nobody travels faster at peak than at free flow."""
    plan = plan_of({"values": ["travel_time_index"]}, windows=["year"], figures=[TRAVEL_FIGURE])
    times = [at("2025-06-02T09:00") + minute * MINUTE for minute in range(10)]
    rows = [row(time, "100", indicator="LOCAL:TRAVEL_TIME", unit="SEC") for time in times]
    rows.append(row("2025-06-02T08:00", "50", indicator="LOCAL:TRAVEL_TIME", unit="SEC"))
    figure = Figures(plan, rows).one(Kind.VALUE, site_id="", indicator="EC: I: T: 5A")
    assert (figure.finding, figure.verified) == (Finding.OUT_OF_RANGE, False)


@pytest.mark.parametrize(
    ("time", "is_peak"),
    [
        ("2025-06-02T06:59:59Z", False),
        ("2025-06-02T07:00:00Z", True),
        ("2025-06-02T08:59:59Z", True),
        ("2025-06-02T09:00:00Z", False),
        ("2025-06-02T16:00:00Z", True),
        ("2025-06-02T18:00:00Z", False),
        ("2025-06-06T17:00:00Z", True),
        ("2025-06-07T17:00:00Z", False),
    ],
)
def test_peak_is_from_7_to_9_and_16_to_18_on_weekdays(time: str, is_peak: bool) -> None:
    plan = plan_of({"values": ["travel_time_index"]})
    rows = [row(time, "100", indicator="LOCAL:TRAVEL_TIME", unit="SEC")]
    assert [figure.exact for figure in Figures(plan, rows).found(Kind.VALUE)] == ["1"] * is_peak


def test_peak_hours_are_those_of_the_citys_zone() -> None:
    plan = plan_of({"values": ["travel_time_index"]}, zone="America/Chicago")
    rows = [row("2025-06-02T12:30:00Z", "100", indicator="LOCAL:TRAVEL_TIME", unit="SEC")]
    assert len(Figures(plan, rows).found(Kind.VALUE)) == 1


def test_travel_times_of_zero_give_no_index() -> None:
    rows = [row("2025-06-02T08:00", "0", indicator="LOCAL:TRAVEL_TIME", unit="SEC")]
    assert Figures(plan_of({"values": ["travel_time_index"]}), rows).found(Kind.VALUE) == []


POWER = "LOCAL:ELECTRICITY_GENERATION"
SHARE_FIGURE = {
    "indicator": "LOCAL:RENEWABLE_SHARE",
    "formula": "share",
    "source": POWER,
    "value": "sum",
    "part": ["renewable"],
    "whole": ["fossil", "nuclear", "renewable"],
}


def power(**values: str) -> Figures:
    """Return the figures of a year with these quantities by source."""
    plan = plan_of({"values": ["sum"]}, windows=["year"], figures=[SHARE_FIGURE])
    return Figures(plan, yearly({(POWER, point): (value, "GWH") for point, value in values.items()}))


def test_a_share_is_the_part_of_the_whole() -> None:
    figure = power(fossil="60", nuclear="15", renewable="25").one(Kind.VALUE, "share")
    assert (figure.exact, figure.indicator, figure.unit) == ("25", "LOCAL:RENEWABLE_SHARE", "P1")


def test_a_share_waits_for_all_of_its_whole() -> None:
    assert power(fossil="60", renewable="25").found(Kind.VALUE, "share") == []


def test_a_share_of_nothing_is_no_figure() -> None:
    assert power(fossil="0", nuclear="0", renewable="0").found(Kind.VALUE, "share") == []


def test_local_codes_have_no_score() -> None:
    with pytest.raises(ConfigError, match="no score uses it"):
        plan_of(targets=[{"indicator": POWER, "data_point": "fossil", "target": "1"}])


def test_the_scored_year_is_that_of_the_citys_zone() -> None:
    plan = plan_of(windows=["year"], zone="America/Chicago")
    figure = Figures(plan, [row("2025-01-01T03:00:00Z", "1")]).found(Kind.VALIDITY)[0]
    assert figure.window.end == at("2025-01-01T06:00:00Z")
