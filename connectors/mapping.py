"""How one sampling site's files are to be read: the checked form of a ``mapping`` table in TOML.

Owns the settings of normalisation and their error messages. Reads no files and no data.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connectors.parsing import EPOCH_UNITS, ISO, DstRule, parse_number
from connectors.records import QualityCode
from pipeline.core.names import MAX_TEXT_CHARS, is_text
from pipeline.core.record import MAX_SCALE, MAX_VALUES
from pipeline.core.settings_table import Table
from schemas.catalogue import Catalogue, Limits, catalogue

QUALITY_NAMES = {code.name.lower(): code for code in QualityCode}
ENCODINGS = ("utf-8", "cp1252", "iso-8859-1")
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class TimeRule:
    """Where the collecting time stands and how it is written; ``zone`` is for readings without offset."""

    column: str
    format: str
    zone: ZoneInfo | None
    dst: DstRule


@dataclass(frozen=True, slots=True)
class ValueRule:
    """One column that holds one data point of one indicator; exactly one of ``unit`` and ``unit_column`` is set."""

    column: str
    indicator: str
    data_point: str
    limits: Limits
    unit: str | None
    unit_column: str | None
    factor: Fraction
    decimals: int | None


@dataclass(frozen=True, slots=True)
class SiteMapping:
    """Everything needed to turn rows of one site into records; valid once constructed by ``read_mapping``.

    ``keep`` names the rows that are this site's, by column; ``missing`` the texts that stand for no value;
    ``finished`` says that nobody writes the data any more, so a last row without line end is whole.
    """

    sensor: str
    source: str
    quality: QualityCode
    time: TimeRule
    values: tuple[ValueRule, ...]
    keep: Mapping[str, frozenset[str]]
    missing: frozenset[str]
    decimal_mark: str
    delimiter: str
    encoding: str
    finished: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns that a file must have, in order of first use."""
        units = [rule.unit_column for rule in self.values if rule.unit_column]
        return tuple(
            dict.fromkeys([self.time.column, *(rule.column for rule in self.values), *units, *self.keep])
        )


def read_mapping(settings: Mapping[str, Any], where: str = "mapping") -> SiteMapping:
    """Check a mapping given as plain TOML values; ``where`` is the key path used in messages.

    Raises:
        ConfigError: a key is missing, unknown or wrong; the message names it and the remedy.
    """
    table = Table(settings, where)
    mapping = SiteMapping(
        sensor=_label(table, "sensor"),
        source=_label(table, "source"),
        quality=QUALITY_NAMES[table.choice("quality", tuple(QUALITY_NAMES))],
        time=_time_rule(table.table("time")),
        values=tuple(_value_rule(item) for item in table.tables("values")),
        keep={column: frozenset(values) for column, values in table.text_lists("keep").items()},
        missing=frozenset(table.texts("missing", default=())) | {""},
        decimal_mark=table.choice("decimal_mark", (".", ","), default="."),
        delimiter=table.choice("delimiter", DELIMITERS, default=","),
        encoding=table.choice("encoding", ENCODINGS, default="utf-8"),
        finished=table.flag("finished", default=False),
    )
    table.done()
    if not 0 < len(mapping.values) <= MAX_VALUES:
        raise table.error("values", f"needs 1 to {MAX_VALUES} entries; add one [[{where}.values]] per column")
    points = [(rule.indicator, rule.data_point) for rule in mapping.values]
    if len(set(points)) != len(points):
        raise table.error("values", "two entries feed the same indicator and data point; remove one")
    return mapping


def _label(table: Table, key: str) -> str:
    text = table.text(key)
    if not is_text(text):
        raise table.error(
            key, f"is {text!r}; use 1 to {MAX_TEXT_CHARS} printable ASCII characters without spaces"
        )
    return text


def _time_rule(table: Table) -> TimeRule:
    form = table.text("format", default=ISO)
    zone_name = table.text("zone", default="")
    rule = TimeRule(
        column=table.text("column"),
        format=form,
        zone=_zone(table, zone_name) if zone_name else None,
        dst=DstRule(table.choice("dst", tuple(DstRule), default=DstRule.BEFORE)),
    )
    table.done()
    if form == ISO or form in EPOCH_UNITS:
        return rule
    if not _is_date_pattern(form):
        raise table.error(
            "format",
            f'is {form!r}; use "{ISO}", "epoch_s", "epoch_ms" or a pattern with %Y such as "%Y-%m-%d %H:%M"',
        )
    if rule.zone is None and "%z" not in form:
        raise table.error(
            "zone", 'is missing; name the zone of these local times, e.g. "Europe/Rome" or "UTC"'
        )
    return rule


def _is_date_pattern(form: str) -> bool:
    sample = datetime(2000, 1, 2, 3, 4, 5)  # noqa: DTZ001 - only its text is used
    try:
        return datetime.strptime(sample.strftime(form.replace("%z", "")), form.replace("%z", "")).year == 2000  # noqa: DTZ007
    except (ValueError, re.error):  # a directive that is there twice is an error of the expression made of it
        return False


def _zone(table: Table, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise table.error("zone", f'is {name!r}; use a name such as "America/Chicago" or "UTC"') from None


def _value_rule(table: Table) -> ValueRule:
    known = catalogue()
    code, data_point = table.text("indicator"), table.text("data_point", default="")
    indicator = known.find(code)
    if indicator is None:
        raise table.error(
            "indicator", f"is {code!r}, which the catalogue does not have; see schemas/catalogue"
        )
    limits = indicator.limits_of(data_point)
    if limits is None:
        points = ", ".join(indicator.data_points) or "none: leave the key out"
        raise table.error("data_point", f"is {data_point!r}; {code} has {points}")
    unit_text, unit_column = table.text("unit", default=""), table.text("unit_column", default="")
    if bool(unit_text) == bool(unit_column):
        raise table.error("unit", "or unit_column must be given, and not both")
    rule = ValueRule(
        column=table.text("column"),
        indicator=code,
        data_point=data_point,
        limits=limits,
        unit=_unit(table, known, (code, data_point, limits), unit_text) if unit_text else None,
        unit_column=unit_column or None,
        factor=_factor(table),
        decimals=table.whole("decimals", 0, MAX_SCALE),
    )
    table.done()
    return rule


def _unit(table: Table, known: Catalogue, point: tuple[str, str, Limits], text: str) -> str:
    code, data_point, limits = point
    unit = known.units.find(text)
    if unit is None:
        raise table.error(
            "unit", f"is {text!r}; use a UNECE Recommendation 20 code such as {limits.unece_unit!r}"
        )
    if known.special_factor(code, data_point, unit) is None and not known.units.is_convertible(
        unit, limits.unece_unit
    ):
        raise table.error("unit", f"{unit!r} does not convert to {limits.unece_unit!r}, the unit of {code}")
    return unit


def _factor(table: Table) -> Fraction:
    text = table.text("factor", default="1")
    number = parse_number(text)
    if not isinstance(number, Decimal) or number == 0:
        raise table.error("factor", f'is {text!r}; write a number other than 0 in quotes, e.g. "0.001"')
    return Fraction(number)
