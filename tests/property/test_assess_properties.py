"""Figures depend on what is observed alone: not on order, repeats, or the parts in which it comes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.assess.assess import assess_cell, assess_rows
from pipeline.core.assess.cells import touched
from pipeline.core.assess.message import assessment_value, is_consistent, parse_assessment
from pipeline.core.assess.model import Assessment, Cell, Observed, Series
from pipeline.core.assess.plan import Plan
from tests.property.effort import examples
from tests.support.assess_rows import CHAIN, CITY, COUNTRY, DAY, at, plan_of

PLAN = plan_of(
    {
        "indicator": "LOCAL:TRAVEL_TIME",
        "interval": "6h",
        "lateness": "1h",
        "values": ["travel_time_index", "mean"],
    },
    {"site_id": "10.0.0.7", "indicator": "LOCAL:WATER_FLOW", "interval": "day", "high": "50", "step": "20"},
    windows=["day", "month", "year"],
    zone="America/Chicago",
    figures=[
        {
            "indicator": "EC: I: T: 5A",
            "formula": "mean_of_sites",
            "source": "LOCAL:TRAVEL_TIME",
            "value": "travel_time_index",
        }
    ],
    targets=[
        {"indicator": "EC: I: T: 5A", "start": "4", "target": "1.5"},
        {"indicator": "EC: I: WS: 1C", "target": "90"},
    ],
    report=["EC: I: T: 5A", "EC: I: WS: 1C", "EC: I: WS: 2C"],
)
START = at("2025-02-27T12:00:00Z")
POINTS = (
    ("LOCAL:TRAVEL_TIME", "", "SEC"),
    ("LOCAL:WATER_FLOW", "", "G51"),
    ("LOCAL:WATER_FLOW", "", "MQH"),
    ("EC: I: WS: 1C", "", "P1"),
    ("EC: I: WS: 2C", "", "P1"),
    ("EN: EN: WA: 1C", "landfill", "P1"),
    ("LOCAL:UNKNOWN", "", "P1"),
)


@st.composite
def observed(draw: st.DrawFn) -> Observed:
    """Draw a row near the turn of a month; few names and times, so that rows meet."""
    code, point, unit = draw(st.sampled_from(POINTS))
    time_ms = START + draw(st.integers(0, 16)) * DAY // 4
    return Observed(
        draw(st.sampled_from(("C-1", "C-2", "C-3", "C-4"))),
        draw(st.integers(0, 3)),
        draw(st.integers(0, 3)),
        time_ms,
        time_ms + draw(st.sampled_from((0, 3_600_000, 3_600_001))),
        COUNTRY,
        draw(st.sampled_from((CITY, "unlocode:USSEA"))),
        draw(st.sampled_from(("10.0.0.7", "10.0.0.8"))),
        code,
        point,
        draw(st.sampled_from(("0", "12.5", "40", "97.123456789", "-1", "nonsense"))),
        unit,
        draw(st.integers(0, 6)),
    )


def unique(rows: Sequence[Observed]) -> list[Observed]:
    """Return rows of which each has its own identity, as a store has them."""
    return list({row[:3]: row for row in rows}.values())


FEW = settings(max_examples=examples(30))
ROWS = st.lists(observed(), max_size=40).map(unique)


class Store:
    """What an assessment worker keeps: rows, and the figures of cells, replaced whenever a row touches the cell."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rows: dict[tuple[Any, ...], Observed] = {}
        self._cells: dict[Cell, tuple[Assessment, ...]] = {}

    def take(self, rows: Sequence[Observed]) -> None:
        """Take rows, known or new, and assess what they touch."""
        self._rows |= {row[:3]: row for row in rows}
        for cell in touched(self._plan, rows):
            self._cells[cell] = assess_cell(self._plan, CHAIN, cell, self._groups(cell))

    def _groups(self, cell: Cell) -> list[list[Observed]]:
        groups: dict[Series, list[Observed]] = {}
        for row in self._rows.values():
            if (row.country, row.city) == cell[:2] and cell.window.start <= row.time_ms < cell.window.end:
                groups.setdefault(row.series, []).append(row)
        return list(groups.values())

    @property
    def figures(self) -> tuple[Assessment, ...]:
        """All figures, sorted by key."""
        return tuple(
            sorted((figure for cell in self._cells.values() for figure in cell), key=lambda f: f.key)
        )


@FEW
@given(ROWS, st.randoms(use_true_random=False))
def test_order_and_repeats_change_nothing(rows: list[Observed], random: Any) -> None:
    again = rows + [row for row in rows if random.random() < 0.5]
    random.shuffle(again)
    assert assess_rows(PLAN, CHAIN, again) == assess_rows(PLAN, CHAIN, rows)


@FEW
@given(ROWS, st.lists(st.integers(0, 40), max_size=4), st.randoms(use_true_random=False))
def test_rows_that_come_in_parts_and_twice_give_the_figures_of_all_at_once(
    rows: list[Observed], cuts: list[int], random: Any
) -> None:
    store, places = Store(PLAN), [0, *sorted(cuts), len(rows)]
    for start, end in pairwise(places):
        store.take(rows[start:end])
        store.take([row for row in rows[:end] if random.random() < 0.3])
    assert store.figures == assess_rows(PLAN, CHAIN, rows)


@FEW
@given(st.lists(observed(), max_size=12), st.randoms(use_true_random=False))
def test_even_rows_that_contradict_each_other_give_the_same_figures_in_any_order(
    rows: list[Observed], random: Any
) -> None:
    """A store has no two rows of one identity; were there two, no order may decide."""
    same = [row._replace(country=COUNTRY, city=CITY, site_id="10.0.0.7", indicator="LOCAL:WATER_FLOW", data_point="",
                         time_ms=START, unit="G51") for row in rows]  # fmt: skip
    mixed = same.copy()
    random.shuffle(mixed)
    assert assess_rows(PLAN, CHAIN, mixed) == assess_rows(PLAN, CHAIN, same)


@FEW
@given(ROWS)
def test_every_figure_is_consistent_and_its_record_reads_back(rows: list[Observed]) -> None:
    figures = assess_rows(PLAN, CHAIN, rows)
    assert len({figure.key for figure in figures}) == len(figures)
    for figure in figures:
        assert is_consistent(figure)
        assert parse_assessment(assessment_value(figure)) == figure


@FEW
@given(ROWS, observed())
def test_a_row_changes_no_figures_outside_the_cells_it_touches(rows: list[Observed], extra: Observed) -> None:
    known = {row[:3] for row in rows}
    if extra[:3] in known:
        return
    cells = touched(PLAN, [extra])
    before, after = (
        [
            figure
            for figure in assess_rows(PLAN, CHAIN, some)
            if Cell(figure.country, figure.city, figure.window) not in cells
        ]
        for some in (rows, [*rows, extra])
    )
    assert before == after


@given(st.binary(max_size=200))
def test_reading_a_record_never_raises(data: bytes) -> None:
    parse_assessment(data)


@FEW
@given(ROWS.filter(bool), st.data())
def test_a_damaged_record_is_another_assessment_or_none(rows: list[Observed], data: st.DataObject) -> None:
    figures = assess_rows(PLAN, CHAIN, rows)
    value = bytearray(assessment_value(data.draw(st.sampled_from(figures))))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    parsed = parse_assessment(bytes(value))
    assert parsed is None or assessment_value(parsed) == bytes(value)
