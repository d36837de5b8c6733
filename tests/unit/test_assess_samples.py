"""The bundled real data give the figures that others reckoned from the raw files."""

import csv
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from statistics import fmean, quantiles

import pytest

from connectors.samples import sample_folder, sample_sites
from connectors.sources.base import START
from pipeline.core.assess.model import Finding, Kind, Observed, Period
from pipeline.core.assess.plan import Plan
from pipeline.core.assess.plan_reader import read_plan
from pipeline.core.assess.windows import local_time
from pipeline.core.names import site_id_text
from tests.support.assess_rows import Figures

PER_PACKET = 100


def bundled_plan() -> Plan:
    """Return the plan for the bundled data."""
    return read_plan(tomllib.loads((sample_folder() / "assessment.toml").read_text("utf-8")))


def bundled_rows() -> Iterator[Observed]:
    """Yield all bundled values as the store has them."""
    for number, sample in enumerate(sample_sites()):
        for index, record in enumerate(sample.source().read(START, 10_000).records):
            for position, value in enumerate(record.values):
                yield Observed(
                    f"CODE-{number}-{index // PER_PACKET:03}",
                    index % PER_PACKET,
                    position,
                    record.time_ms,
                    1_750_000_000_000,
                    sample.site.country,
                    sample.site.city,
                    site_id_text(sample.site.site_id),
                    value.indicator,
                    value.data_point,
                    f"{value.exact:f}",
                    value.unit,
                    int(record.extending.quality),
                )


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures(bundled_plan(), bundled_rows())


def raw(name: str) -> list[dict[str, str]]:
    """Return the rows of a bundled file, read by nothing of ours."""
    with (sample_folder() / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("section", "published"), [("387", "4.256"), ("451", "1.999")])
def test_travel_time_index_of_a_road_section(figures: Figures, section: str, published: str) -> None:
    figure = next(
        found for found in figures.found(Kind.VALUE, "travel_time_index") if found.site_id.endswith("::" + section)
        and found.window.period is Period.YEAR
    )  # fmt: skip
    assert f"{figure.value:.3f}" == published
    rows = raw(f"nab_TravelTime_{section}.csv")
    times = [(datetime.fromisoformat(item["timestamp"]), int(item["value"])) for item in rows]
    peak = [value for time, value in times if time.weekday() < 5 and time.hour in (7, 8, 16, 17)]
    free = quantiles([value for _, value in times], n=100, method="inclusive")[14]
    assert float(figure.value) == pytest.approx(fmean(peak) / free, abs=1e-8)
    assert figure.quality == 4


@pytest.mark.parametrize(("year", "published"), [(2001, "3.53"), (2017, "38.84")])
def test_renewable_share_of_a_year(figures: Figures, year: int, published: str) -> None:
    found = {
        local_time(figure.window.start, UTC).year: figure
        for figure in figures.found(Kind.VALUE, "share", indicator="LOCAL:RENEWABLE_SHARE")
    }
    assert sorted(found) == list(range(2001, 2018))
    assert f"{found[year].value:.2f}" == published
    parts = {
        item["source"]: int(item["net_generation"])
        for item in raw("vega_iowa-electricity.csv")
        if item["year"] == f"{year}-01-01"
    }
    assert float(found[year].value) == pytest.approx(
        100 * parts["Renewables"] / sum(parts.values()), abs=1e-8
    )
    assert found[year].verified


def test_water_flow_mean_and_its_missing_hours(figures: Figures) -> None:
    of_year = [
        figure for figure in figures.all if figure.city == "unpublished:tecnojest"
        and figure.window.period is Period.YEAR and figure.indicator == "LOCAL:WATER_FLOW"
    ]  # fmt: skip
    mean = next(figure for figure in of_year if figure.formula == "mean")
    complete = next(figure for figure in of_year if figure.kind is Kind.COMPLETENESS)
    values = [Decimal(item["Water flow [l/s]"]) for item in raw("river_water-flow.csv")]
    assert f"{mean.value:.2f}" == "100.05"
    assert abs(mean.value - sum(values, Decimal(0)) / len(values)) < Decimal("1e-9")
    assert (complete.achieved, complete.possible) == (1268, 1379)


def test_days_of_changed_clocks_have_23_hours_and_are_as_complete(figures: Figures) -> None:
    hours = {
        figure.possible
        for figure in figures.found(Kind.COMPLETENESS, city="unpublished:tecnojest")
        if figure.window.period is Period.DAY and figure.window.end - figure.window.start == 23 * 3_600_000
    }
    assert hours == {23}


def test_weather_has_a_value_for_every_day_of_every_year(figures: Figures) -> None:
    found = [
        (figure.achieved, figure.possible)
        for figure in figures.found(Kind.COMPLETENESS, city="unlocode:USSEA")
        if figure.window.period is Period.YEAR
    ]
    assert sorted(set(found)) == [(365, 365), (366, 366)]
    assert len(found) == 16


def test_outliers_of_the_travel_times_are_noticed(figures: Figures) -> None:
    figure = next(
        found for found in figures.found(Kind.PLAUSIBILITY, "plausible_range")
        if found.site_id.endswith("::387") and found.window.period is Period.YEAR
    )  # fmt: skip
    beyond = sum(not 20 <= int(item["value"]) <= 3600 for item in raw("nab_TravelTime_387.csv"))
    assert figure.possible - figure.achieved == beyond > 0


def test_old_data_come_late(figures: Figures) -> None:
    assert {figure.achieved for figure in figures.found(Kind.TIMELINESS)} == {0}


def test_all_bundled_values_meet_their_definition(figures: Figures) -> None:
    assert {figure.value for figure in figures.found(Kind.VALIDITY)} == {100}


def test_the_example_target_gives_points_and_scores_up_to_the_dimension(figures: Figures) -> None:
    target = figures.one(Kind.TARGET)
    assert (target.indicator, target.achieved, target.finding) == ("EC: I: T: 5A", 2, Finding.NONE)
    assert {score.indicator: score.exact for score in figures.found(Kind.SCORE)} == {
        "Economy": "50",
        "Economy > Infrastructure": "50",
        "Economy > Infrastructure > Transport": "50",
    }
