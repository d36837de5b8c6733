"""Conditions of ``bkdms tail --where``: what they mean, and that nothing else is possible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.where import MAX_CONDITION_CHARS, WhereError, parse_condition

ROW = {
    "indicator": "LOCAL:TRAFFIC_SPEED",
    "value": 3.5,
    "record": 7,
    "active": True,
    "nothing": None,
    "header": {"height": 12, "source": {"topic": "kpi.chain.v1"}},
    "codes": ["a", "b"],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("indicator == 'LOCAL:TRAFFIC_SPEED' and value > 3", True),
        ("indicator == 'LOCAL:TRAFFIC_SPEED' and value > 4", False),
        ("value > 4 or record == 7", True),
        ("not value > 4", True),
        ("3 < value <= 3.5", True),
        ("3 < value < 3.5", False),
        ("value >= -1", True),
        ("value != 3.5", False),
        ("header.height >= 12 and header.source.topic == 'kpi.chain.v1'", True),
        ("'SPEED' in indicator", True),
        ("'SPEED' not in indicator", False),
        ("record in (1, 7)", True),
        ("record in [1, 2]", False),
        ("record not in (1, 2)", True),
        ("active", True),
        ("active == true", True),
        ("active == 1", False),
        ("not active", False),
        ("nothing == null", True),
        ("missing == null", True),
        ("missing.inner == null", True),
        ("missing == 3", False),
        ("missing != 3", True),
        ("missing < 3", False),
        ("indicator > 3", False),
        ("value < 'x'", False),
        ("codes == 'a'", False),
        ("(value > 4 or record == 7) and active", True),
        ("value", False),
    ],
)
def test_a_condition_means_what_it_says(text: str, expected: bool) -> None:
    assert parse_condition(text).is_met(ROW) is expected


def test_the_fields_that_a_condition_names_are_known() -> None:
    condition = parse_condition("header.height > 3 and (active or 'x' in indicator)")
    assert condition.names == {"header.height", "active", "indicator"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "value >",
        "value = 3",
        "__import__('os').system('true')",
        "value.__class__()",
        "[x for x in (1,)]",
        "value > (lambda: 3)()",
        "value + 1 > 3",
        "value is null",
        "value if active else record",
        "codes[0] == 'a'",
        "f'{value}' == '3'",
        "b'x' == value",
        "(y := 3) > 2",
        "value in (record, 3)",
        "'a'",
        "3",
        "value > 3; record",
        "not " * 400 + "active",
        "(" * 300 + "active" + ")" * 300,
        "x" * (MAX_CONDITION_CHARS + 1),
        "value > 3 # and more\n and",
    ],
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(WhereError) as refused:
        parse_condition(text)
    assert str(refused.value)
    assert len(str(refused.value)) < MAX_CONDITION_CHARS + 200


@given(st.text(max_size=60) | st.text(alphabet="andornti().<>=!'1 value", max_size=60))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        condition = parse_condition(text)
    except WhereError:
        return
    assert condition.is_met(ROW) in (True, False)


def test_deep_conditions_end() -> None:
    assert parse_condition("not " * 240 + "active").is_met(ROW) is True
    assert parse_condition("a" + ".a" * 490 + " == null").is_met(ROW) is True
