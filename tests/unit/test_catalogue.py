"""The bundled catalogue: complete, consistent, and its units convert exactly."""

import csv
import re
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalogue import Direction, catalogue
from schemas.catalogue.model import read_indicators, read_limits
from schemas.catalogue.units import read_units

CONVERTIBLE = sorted(catalogue().units.factors)
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(files("schemas.catalogue").joinpath(name).read_text("utf-8").splitlines()))


def printed_factor(text: str) -> tuple[Fraction, int]:
    """A factor of Recommendation 20 such as ``3,6 x 10⁶ J``, and how many significant digits it is printed with."""
    power = re.search("10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)", text)
    mantissa = re.match("[0-9][0-9, ]*", text if power is None else text[: power.start()])
    digits = mantissa[0].replace(" ", "").replace(",", ".") if mantissa else "1"
    exponent = int(power[1].translate(SUPERSCRIPTS)) if power else 0
    return Fraction(digits) * Fraction(10) ** exponent, len(digits.replace(".", "").lstrip("0"))


def test_catalogue_has_the_91_indicators_of_u4ssc_and_ours_apart() -> None:
    local = [indicator for indicator in catalogue().indicators.values() if indicator.is_local]
    assert len(catalogue().indicators) - len(local) == 91
    assert all(indicator.direction is Direction.NONE for indicator in local)


def test_tiers_and_dimensions_add_up_to_the_published_numbers() -> None:
    scored = [indicator for indicator in catalogue().indicators.values() if not indicator.is_local]
    assert sum(indicator.tier == "core" for indicator in scored) == 55
    assert {indicator.dimension for indicator in scored} == {"Economy", "Environment", "Society and Culture"}


def test_an_indicator_tells_unit_range_and_data_points() -> None:
    air = catalogue().find("EN: EN: AQ: 1C")
    assert air is not None
    assert (air.unece_unit, air.low, air.high) == ("GQ", Decimal(0), None)
    assert air.data_points == ("pm10", "pm2.5", "no2", "so2", "o3")
    assert air.limits_of("no2") == air.limits
    assert air.limits_of("") is air.limits_of("lead") is None


def test_a_data_point_may_have_its_own_unit_and_range() -> None:
    open_data = catalogue().find("EC: ICT: PS: 1A")
    assert open_data is not None
    number, percent = open_data.limits_of("number"), open_data.limits_of("percent")
    assert number is not None
    assert percent is not None
    assert (number.unece_unit, number.high, percent.unece_unit, percent.high) == (
        "C62",
        None,
        "P1",
        Decimal(100),
    )


def test_a_yes_no_indicator_holds_only_zero_and_one() -> None:
    limits = read_limits("", "boolean")
    assert [limits.contains(Decimal(text)) for text in ("0", "1", "0.5", "2", "-1")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_only_the_yes_no_indicators_have_no_unit_in_the_file() -> None:
    without = {row["value_range"] for row in rows("indicators.csv") if not row["unece_unit"]}
    assert without == {"boolean"}


def test_unknown_codes_are_not_found() -> None:
    assert catalogue().find("XX: X: X: 1C") is None


@pytest.mark.parametrize("code", [code for code in CONVERTIBLE if code not in {"CEL", "FAH", "KEL"}])
def test_a_factor_agrees_with_recommendation_20_to_its_printed_digits(code: str) -> None:
    units = catalogue().units
    printed, digits = printed_factor(units.units[code].conversion_factor)
    error = abs(units.factors[code].factor / printed - 1)
    assert error == 0 or error < Fraction(1, 10 ** (digits - 1))


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [
        ("1", "C62", "P1", "100"),
        ("36", "KMH", "MTS", "10"),
        ("1", "HM", "KMH", "1.609344"),
        ("212", "FAH", "CEL", "100"),
        ("-40", "CEL", "FAH", "-40"),
        ("3.6", "MQH", "G51", "1"),
        ("35361000", "MWH", "GWH", "35361"),
    ],
)
def test_conversions_are_exact(value: str, source: str, target: str, result: str) -> None:
    assert catalogue().units.convert(Decimal(value), source, target) == Fraction(result)


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=6),
    st.sampled_from(CONVERTIBLE),
    st.sampled_from(CONVERTIBLE),
)
def test_a_conversion_and_back_gives_the_same_value(value: Decimal, source: str, target: str) -> None:
    units = catalogue().units
    if not units.is_convertible(source, target):
        with pytest.raises(ValueError, match="no exact conversion"):
            units.convert(value, source, target)
        return
    assert units.convert(units.convert(value, source, target), target, source) == Fraction(value)


def test_units_are_found_by_code_and_by_alias_but_not_when_deleted() -> None:
    units = catalogue().units
    assert (units.find("KMH"), units.find("km/h"), units.find("%"), units.find("furlong")) == (
        "KMH",
        "KMH",
        "P1",
        None,
    )
    assert units.units["05"].status == "X"
    assert units.find("05") is None


def test_ppb_of_a_gas_has_a_factor_of_its_own() -> None:
    factors = [
        catalogue().special_factor("EN: EN: AQ: 1C", gas, "61") for gas in ("no2", "so2", "o3", "pm10")
    ]
    assert factors == [Decimal("1.9"), Decimal("2.62"), Decimal("1.96"), None]


def test_countries_are_those_of_iso_3166() -> None:
    assert len(catalogue().countries) == 249
    assert catalogue().countries["IT"] == "Italy"


def local_row(**changes: str) -> dict[str, str]:
    return rows("local_indicators.csv")[0] | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unece_unit": "05"}, "not a valid UNECE code"),
        ({"unece_unit": ""}, "not a valid UNECE code"),
        ({"code": "TRAVEL"}, "local codes start with"),
        ({"value_range": "1"}, "not low..high"),
        ({"value_range": "5..1"}, "not low..high"),
        ({"data_points": "a;a"}, "occurs twice"),
    ],
)
def test_a_wrong_catalogue_row_is_refused_by_name(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_indicators([], [local_row(**changes)], [], catalogue().units)


def test_an_indicator_may_not_occur_twice() -> None:
    with pytest.raises(ValueError, match="occurs twice"):
        read_indicators([], [local_row(), local_row()], [], catalogue().units)


def test_a_data_point_row_without_indicator_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown indicators"):
        read_indicators([], [], rows("data_points.csv"), catalogue().units)


def test_an_alias_that_is_a_unit_code_is_refused() -> None:
    factor = {
        "code": "GV",
        "quantity": "energy",
        "numerator": "1",
        "denominator": "1",
        "shift": "0",
        "aliases": "GJ",
    }
    with pytest.raises(ValueError, match="already means another unit"):
        read_units(rows("units.csv"), [factor])
