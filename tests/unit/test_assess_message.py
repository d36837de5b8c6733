"""Assessments as records: the golden figures, and what is no assessment."""

from typing import Any

import pytest

from pipeline.core import avro
from pipeline.core.assess.assess import assess_rows
from pipeline.core.assess.message import (
    ASSESSMENT,
    MAX_MESSAGE_BYTES,
    assessment_key,
    assessment_of,
    assessment_value,
    fields_of,
    key_bytes,
    parse_assessment,
)
from pipeline.core.assess.model import Assessment, Observed
from pipeline.core.assess.plan_reader import read_plan
from tests.support.assess_rows import Figures, plan_of, row
from tests.support.golden import golden

LONG_NAME = "x" * 64


def stored() -> list[dict[str, Any]]:
    """Return the golden figures."""
    figures: list[dict[str, Any]] = golden("assessments")["figures"]
    return figures


def reckoned() -> tuple[Assessment, ...]:
    """Return the figures of the golden rows."""
    world = golden("assessments")
    rows = [
        Observed(
            item["tracing_code"],
            item["record"],
            item["number"],
            item["time"],
            item["admitted"],
            world["country"],
            world["city"],
            *(item[name] for name in ("site_id", "indicator", "data_point", "exact", "unit", "quality")),
        )
        for item in world["rows"]
    ]
    return assess_rows(read_plan(world["plan"]), world["chain_id"], rows)


def test_the_golden_rows_give_the_golden_figures() -> None:
    """A change here changes results: raise FORMULAS_VERSION with it."""
    found = [fields_of(figure) | {"tracing_digest": figure.traces.digest.hex()} for figure in reckoned()]
    assert found == [item["fields"] for item in stored()]


def test_the_golden_figures_are_written_as_the_golden_records() -> None:
    records = [(assessment_key(figure).decode(), assessment_value(figure).hex()) for figure in reckoned()]
    assert records == [(item["key"], item["value"]) for item in stored()]


def test_the_golden_records_read_back() -> None:
    assert [parse_assessment(bytes.fromhex(item["value"])) for item in stored()] == list(reckoned())


def test_a_key_is_known_without_its_figure() -> None:
    figure = reckoned()[0]
    assert key_bytes(figure.key) == assessment_key(figure)


def test_fields_make_the_same_assessment_again() -> None:
    assert [assessment_of(fields_of(figure)) for figure in reckoned()] == list(reckoned())


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "beauty"},
        {"window": "week"},
        {"finding": "odd"},
        {"exact": "ten"},
        {"exact": "NaN"},
        {"exact": "50.0"},
        {"value": 50.5},
        {"achieved": -1},
        {"achieved": 5},
        {"window_end": 0},
        {"tracing_count": 2},
        {"tracing_count": 40},
        {"tracing_codes": ["9XH0-1-0-Z"]},
        {"tracing_codes": ["B", "A"], "tracing_count": 2},
        {"tracing_digest": bytes(32)},
    ],
)
def test_a_record_that_contradicts_itself_is_no_assessment(wrong: dict[str, Any]) -> None:
    figure = next(item for item in reckoned() if item.kind.value == "availability")
    assert figure.exact == "50"
    value = avro.frame(ASSESSMENT, avro.encode(ASSESSMENT, fields_of(figure) | wrong))
    assert parse_assessment(value) is None


def test_a_record_that_is_too_long_is_no_assessment() -> None:
    figure = reckoned()[0]
    fields = fields_of(figure) | {"chain_id": "x" * MAX_MESSAGE_BYTES}
    assert parse_assessment(avro.frame(ASSESSMENT, avro.encode(ASSESSMENT, fields))) is None


def test_the_longest_names_and_most_tracing_codes_fit_a_record() -> None:
    rows = [
        row(f"2025-05-01T00:00:{number:02}", "1", tracing_code=f"{number:040}", country="US", city=LONG_NAME)
        for number in range(60)
    ]
    assert all(len(assessment_value(one)) < MAX_MESSAGE_BYTES for one in Figures(plan_of(), rows).all)
