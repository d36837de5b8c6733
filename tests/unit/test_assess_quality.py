"""Quality and availability of one series: completeness, timeliness, validity, traceability, plausibility."""

from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest

from pipeline.core.assess.assess import assess_cell, assess_summaries, summarise_rows
from pipeline.core.assess.cells import touched, touched_at
from pipeline.core.assess.model import Cell, Finding, Kind, Observed, Period, Window
from pipeline.core.assess.plan import DEFAULT_PLAN
from tests.support.assess_rows import CHAIN, CITY, COUNTRY, DAY, FLOW, HOUR, SITE, Figures, at, plan_of, row

HOURLY = {"site_id": SITE, "indicator": FLOW, "interval": "1h"}


def hours(*numbers: int, value: str = "100", **changes: Any) -> list[Observed]:
    """Return a row for each of some hours of one day."""
    return [row(at("2022-05-01") + number * HOUR, value, **changes) for number in numbers]


def counts(figures: Figures, kind: Kind, formula: str = "") -> tuple[int, int, Decimal]:
    """Return achieved, possible and value of the series' figure."""
    figure = figures.one(kind, formula, indicator=FLOW)
    return figure.achieved, figure.possible, figure.value


def test_completeness_counts_slots_with_a_value() -> None:
    figures = Figures(plan_of(HOURLY), hours(*range(18)))
    assert counts(figures, Kind.COMPLETENESS) == (18, 24, Decimal(75))


def test_two_values_in_one_slot_fill_it_once() -> None:
    rows = [*hours(0, 1), row(at("2022-05-01") + 600000, "99")]
    assert counts(Figures(plan_of(HOURLY), rows), Kind.COMPLETENESS)[:2] == (2, 24)


def test_without_an_interval_nothing_is_expected() -> None:
    figures = Figures(plan_of(HOURLY | {"interval": ""}), hours(0))
    assert figures.found(Kind.COMPLETENESS) == figures.found(Kind.AVAILABILITY) == []


def test_a_silent_series_that_the_plan_names_is_complete_to_0_percent() -> None:
    silent = HOURLY | {"site_id": "10.0.0.9"}
    figure = Figures(plan_of(HOURLY, silent), hours(0)).one(
        Kind.COMPLETENESS, site_id="10.0.0.9", indicator=FLOW
    )
    assert (figure.achieved, figure.possible, figure.verified, figure.quality) == (0, 24, False, 0)
    assert (figure.traces.count, figure.traces.digest) == (0, sha256(b"").digest())


def test_timeliness_counts_values_admitted_within_the_lateness() -> None:
    plan = plan_of(HOURLY | {"lateness": "2h"})
    rows = [
        row(at("2022-05-01"), "1", admitted_ms=at("2022-05-01") + late)
        for late in (0, 2 * HOUR, 2 * HOUR + 1)
    ]
    rows = [item._replace(record=number) for number, item in enumerate(rows)]
    assert counts(Figures(plan, rows), Kind.TIMELINESS)[:2] == (2, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"exact": "-0.001"},
        {"exact": "1e3"},
        {"exact": "NaN"},
        {"exact": ""},
        {"exact": "1.0000000001"},
        {"unit": "CEL"},
        {"unit": "no-unit"},
    ],
)
def test_a_value_outside_the_definition_is_not_valid_and_not_available(wrong: dict[str, str]) -> None:
    figures = Figures(plan_of(HOURLY), [*hours(0, 1), row("2022-05-01T02:00", "5")._replace(**wrong)])  # type: ignore[arg-type]
    assert counts(figures, Kind.VALIDITY)[:2] == (2, 3)
    assert counts(figures, Kind.COMPLETENESS)[:2] == (3, 24)
    assert counts(figures, Kind.AVAILABILITY)[:2] == (2, 24)


@pytest.mark.parametrize("unknown", [{"indicator": "LOCAL:NOTHING"}, {"data_point": "none"}])
def test_values_of_what_the_catalogue_does_not_know_are_not_valid(unknown: dict[str, str]) -> None:
    figure = Figures(DEFAULT_PLAN, [row("2022-05-01", "5", **unknown)]).found(Kind.VALIDITY)[0]
    assert (figure.achieved, figure.possible, figure.verified) == (0, 1, False)


@pytest.mark.parametrize(
    ("indicator", "data_point", "unit", "read", "meant"),
    [
        (FLOW, "", "MQH", "3.6", "1"),
        ("EN: EN: AQ: 1C", "no2", "61", "10", "19"),
        ("EN: EN: AQ: 1C", "so2", "61", "10", "26.2"),
        ("EN: EN: AQ: 1C", "o3", "61", "10", "19.6"),
        ("EN: EN: AQ: 1C", "no2", "GQ", "10", "10"),
    ],
)
def test_values_in_other_units_are_converted(
    indicator: str, data_point: str, unit: str, read: str, meant: str
) -> None:
    """ppb to micrograms by gas: NO2 1.9, SO2 2.62, O3 1.96; cubic metres per hour to litres per second."""
    plan = plan_of({"values": ["mean"]})
    figures = Figures(plan, [row("2022-05-01", read, indicator=indicator, data_point=data_point, unit=unit)])
    assert figures.one(Kind.VALUE, "mean").value == Decimal(meant)


def test_a_gas_without_a_factor_does_not_convert_from_ppb() -> None:
    rows = [row("2022-05-01", "10", indicator="EN: EN: AQ: 1C", data_point="pm10", unit="61")]
    assert Figures(DEFAULT_PLAN, rows).found(Kind.VALIDITY)[0].achieved == 0


@pytest.mark.parametrize(("value", "valid"), [("0", 1), ("1", 1), ("0.5", 0), ("2", 0)])
def test_yes_or_no_is_one_or_zero(value: str, valid: int) -> None:
    rows = [row("2022-05-01", value, indicator="SC: SH: SA: 3A", unit="C62")]
    assert Figures(DEFAULT_PLAN, rows).found(Kind.VALIDITY)[0].achieved == valid


@pytest.mark.parametrize(("quality", "traceable"), [(0, 0), (1, 1), (5, 1), (6, 0)])
def test_values_of_no_or_the_last_quality_code_are_not_traceable(quality: int, traceable: int) -> None:
    figure = Figures(plan_of(HOURLY), hours(0, quality=quality)).one(Kind.TRACEABILITY)
    assert (figure.achieved, figure.quality, figure.verified) == (traceable, quality, bool(traceable))


@pytest.mark.parametrize(("codes", "worst"), [((1, 4, 2), 4), ((1, 6), 6), ((1, 0, 6), 0)])
def test_the_worst_quality_code_is_kept_and_none_is_the_worst(codes: tuple[int, ...], worst: int) -> None:
    rows = [item for number, code in enumerate(codes) for item in hours(number, quality=code)]
    assert {figure.quality for figure in Figures(plan_of(HOURLY), rows).all} == {worst}


def test_the_quality_of_values_does_not_count_those_that_are_not_valid() -> None:
    figures = Figures(plan_of(HOURLY), [*hours(0), *hours(1, value="-1", quality=6)])
    assert figures.one(Kind.VALUE).quality == 1
    assert figures.one(Kind.VALIDITY).quality == 6


def test_values_outside_the_plausible_range_are_counted_and_keep_figures_from_being_verified() -> None:
    plan = plan_of(HOURLY | {"low": "20", "high": "120"})
    rows = (
        hours(0, value="20")
        + hours(1, value="120")
        + hours(2, value="120.000000001")
        + hours(3, value="19.9")
    )
    figures = Figures(plan, rows)
    assert counts(figures, Kind.PLAUSIBILITY, "plausible_range")[:2] == (2, 4)
    assert not any(figure.verified for figure in figures.all)


def test_plausible_valid_traceable_values_give_verified_figures() -> None:
    figures = Figures(plan_of(HOURLY | {"low": "20", "high": "120", "step": "5"}), hours(0, 1))
    assert figures.all and all(figure.verified for figure in figures.all)


def test_a_step_between_following_values_is_judged_by_the_plan() -> None:
    rows = [
        item
        for number, value in enumerate(("100", "105", "99.9", "100"))
        for item in hours(number, value=value)
    ]
    figures = Figures(plan_of(HOURLY | {"step": "5"}), rows)
    assert counts(figures, Kind.PLAUSIBILITY, "plausible_step")[:2] == (2, 3)


def test_a_step_over_a_gap_is_not_judged() -> None:
    rows = hours(0, value="100") + hours(2, value="90") + hours(5, value="10")
    assert counts(Figures(plan_of(HOURLY | {"step": "5"}), rows), Kind.PLAUSIBILITY)[:2] == (0, 1)


def test_without_an_interval_every_step_of_a_window_is_judged() -> None:
    rows = hours(0, value="100") + hours(23, value="10")
    figures = Figures(plan_of({"step": "5"}), rows)
    assert counts(figures, Kind.PLAUSIBILITY)[:2] == (0, 1)


def test_a_step_over_a_missing_day_is_judged_and_over_two_is_not() -> None:
    rows = [row(f"2022-05-{day:02}", str(day)) for day in (1, 3, 6)]
    plan = plan_of({"interval": "day", "step": "2"}, windows=["month"])
    assert counts(Figures(plan, rows), Kind.PLAUSIBILITY)[:2] == (1, 1)


@pytest.mark.parametrize(("limit", "finding"), [("75", Finding.NONE), ("75.1", Finding.BELOW_LIMIT)])
def test_a_figure_below_the_plans_limit_is_noted(limit: str, finding: Finding) -> None:
    figures = Figures(plan_of(HOURLY, limits={"completeness": limit}), hours(*range(18)))
    assert figures.one(Kind.COMPLETENESS).finding is finding


def test_availability_of_a_site_and_a_city_counts_all_slots_of_their_series() -> None:
    plan = plan_of({"interval": "1h"})
    rows = hours(0, 1, 2) + hours(0, indicator="LOCAL:TRAFFIC_SPEED", unit="HM", number=1)
    rows += hours(*range(12), site_id="10.0.0.2", number=2)
    figures = Figures(plan, rows)
    site = figures.one(Kind.AVAILABILITY, site_id=SITE, indicator="")
    city = figures.one(Kind.AVAILABILITY, site_id="", indicator="")
    assert (site.achieved, site.possible) == (4, 48)
    assert (city.achieved, city.possible, city.traces.count) == (16, 72, 12)


def test_the_first_matching_rule_holds() -> None:
    plan = plan_of({"indicator": FLOW, "interval": "2h"}, {"interval": "1h"})
    assert counts(Figures(plan, hours(0)), Kind.COMPLETENESS)[1] == 12


def test_without_a_plan_reported_values_are_shown_per_day_and_month() -> None:
    figures = Figures(DEFAULT_PLAN, hours(0, value="7"))
    assert {figure.window.period for figure in figures.all} == {Period.DAY, Period.MONTH}
    assert {figure.kind for figure in figures.all} == {Kind.VALIDITY, Kind.TRACEABILITY, Kind.VALUE}


@pytest.mark.parametrize(
    ("formula", "value"),
    [("mean", "2.75"), ("sum", "11"), ("minimum", "1"), ("maximum", "6"), ("median", "2"), ("last", "3")],
)
def test_values_of_a_series(formula: str, value: str) -> None:
    rows = [item for number, text in enumerate(("1", "6", "1", "3")) for item in hours(number, value=text)]
    figure = Figures(plan_of(HOURLY | {"values": [formula]}), rows).one(Kind.VALUE)
    assert (figure.value, figure.exact, figure.unit, figure.formula) == (
        Decimal(value),
        value,
        "G51",
        formula,
    )


def test_of_values_with_one_time_the_one_admitted_last_is_the_last() -> None:
    first, late = row("2022-05-01", "1", tracing_code="Z"), row("2022-05-01", "2", tracing_code="A")
    rows = [first, late._replace(admitted_ms=late.admitted_ms + 1)]
    assert Figures(plan_of({"values": ["last"]}), rows).one(Kind.VALUE).exact == "2"


def test_results_are_rounded_half_to_even_at_nine_decimals() -> None:
    rows = hours(0, value="1") + hours(1, value="0") + hours(2, value="0")
    assert Figures(plan_of({"values": ["mean"]}), rows).one(Kind.VALUE).exact == "0.333333333"
    half = hours(0, value="0.000000001") + hours(1, value="0.000000002")
    assert Figures(plan_of({"values": ["mean"]}), half).one(Kind.VALUE).exact == "0.000000002"


def test_sums_are_exact_where_binary_numbers_are_not() -> None:
    rows = hours(0, value="9007199254740993") + hours(1, value="0.1") + hours(2, value="0.2")
    assert Figures(plan_of({"values": ["sum"]}), rows).one(Kind.VALUE).exact == "9007199254740993.3"


def test_a_negative_mean_keeps_its_sign() -> None:
    rows = hours(0, value="-0.5", indicator="LOCAL:TEMPERATURE_MIN", unit="CEL")
    assert Figures(plan_of({"values": ["mean"]}), rows).one(Kind.VALUE).exact == "-0.5"


def test_tracing_codes_are_sorted_bounded_counted_and_digested() -> None:
    codes = [f"CODE-{number:03}" for number in range(40)]
    rows = [
        row(at("2022-05-01") + number, "5", tracing_code=code) for number, code in enumerate(reversed(codes))
    ]
    traces = Figures(plan_of(HOURLY), rows).one(Kind.COMPLETENESS).traces
    assert (traces.codes, traces.count) == (tuple(codes[:32]), 40)
    assert traces.digest == sha256("".join(code + "\n" for code in codes).encode()).digest()


def test_a_value_rests_on_valid_rows_only_and_its_validity_on_all() -> None:
    figures = Figures(plan_of(HOURLY), hours(0, 1) + hours(2, value="-1"))
    assert (figures.one(Kind.VALUE).traces.count, figures.one(Kind.VALIDITY).traces.count) == (2, 3)


def test_rows_of_other_windows_series_or_cities_are_refused() -> None:
    day = Window(Period.DAY, at("2022-05-01"), at("2022-05-01") + DAY)
    cell = Cell(COUNTRY, CITY, day)
    plan = plan_of(HOURLY)
    mixed = [hours(0)[0], hours(1, indicator="LOCAL:TRAFFIC_SPEED")[0]]
    for rows in (mixed, hours(24), hours(0, city="unlocode:USSEA")):
        with pytest.raises(ValueError, match="is not of"):
            assess_cell(plan, CHAIN, cell, [rows])


def test_a_series_in_two_groups_is_refused() -> None:
    day = Window(Period.DAY, at("2022-05-01"), at("2022-05-01") + DAY)
    cell = Cell(COUNTRY, CITY, day)
    with pytest.raises(ValueError, match="two summaries"):
        assess_cell(plan_of(HOURLY), CHAIN, cell, [hours(0), hours(1)])


def test_kept_summaries_give_what_rows_give() -> None:
    plan, cell = plan_of(HOURLY), next(iter(touched(plan_of(HOURLY), hours(0))))
    groups = [hours(0, 1), hours(2, site_id="10.0.0.2")]
    kept = [summary for group in groups if (summary := summarise_rows(plan, cell, group)) is not None]
    assert assess_summaries(plan, CHAIN, cell, kept) == assess_cell(plan, CHAIN, cell, groups)
    assert summarise_rows(plan, cell, []) is None


def test_rows_touch_a_cell_per_window_of_their_citys_plan() -> None:
    plan = plan_of(HOURLY, windows=["hour", "year"])
    found = touched(plan, [*hours(0, 1), *hours(0, city="unlocode:USSEA")])
    periods = sorted((cell.city, cell.window.period.value) for cell in found)
    assert periods == [
        (CITY, "hour"), (CITY, "hour"), (CITY, "year"), ("unlocode:USSEA", "day"), ("unlocode:USSEA", "month"),
    ]  # fmt: skip
    assert set(touched_at(plan, COUNTRY, CITY, at("2022-05-01"))) < found


def test_a_time_of_no_window_touches_nothing() -> None:
    assert touched(DEFAULT_PLAN, [row(2**60, "1")]) == set()
    assert Figures(DEFAULT_PLAN, [row(2**60, "1")]).all == ()
