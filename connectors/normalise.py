"""The normaliser (Y.4907 8.1, 10.1): rows of text to records in the catalogue's units, GMT and exact decimals.

Owns meaning: unit, factor, range, quality. A bad value never stops its neighbours and never raises.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from connectors.mapping import SiteMapping, ValueRule
from connectors.parsing import (
    Exact,
    Instant,
    as_written,
    parse_number,
    parse_plain,
    parse_time,
    rounded,
)
from connectors.records import Extending, KpiValue, NormalisedRecord, QualityCode, Rejected, RejectReason
from schemas.catalogue import catalogue


class Outcome(NamedTuple):
    """What one row became: a record, refused fields, both, or (``skipped``) neither, as it is not this site's."""

    record: NormalisedRecord | None = None
    rejected: tuple[Rejected, ...] = ()
    skipped: bool = False


class Normaliser:
    """Turns rows into records by one site's mapping. Stateless between rows, so reading may restart anywhere."""

    def __init__(self, mapping: SiteMapping) -> None:
        self._mapping = mapping
        self._catalogue = catalogue()
        assumed = max(mapping.quality, QualityCode.ASSUMPTION_ESTIMATE)
        self._extending = Extending(mapping.sensor, mapping.quality, mapping.source)
        self._assumed = Extending(mapping.sensor, assumed, mapping.source)
        self._rules = [(rule, mapping.decimal_mark == "." and keeps_digits(rule)) for rule in mapping.values]

    def normalise(self, row: int, cells: Mapping[str, str]) -> Outcome:
        """Normalise one row; ``cells`` has all of ``mapping.columns``, ``row`` is only for reports.

        A time that the clock-change rule had to decide makes the quality at best ``ASSUMPTION_ESTIMATE``.
        """
        mapping = self._mapping
        if any(cells[column] not in kept for column, kept in mapping.keep.items()):
            return Outcome(skipped=True)
        rule = mapping.time
        when = parse_time(cells[rule.column], rule.format, rule.zone, rule.dst)
        if not isinstance(when, Instant):
            return Outcome(rejected=(Rejected(row, rule.column, when),))
        values: list[KpiValue] = []
        rejected: list[Rejected] = []
        for value_rule, keeps_digits in self._rules:
            value = self._value(value_rule, cells, keeps_digits)
            if isinstance(value, KpiValue):
                values.append(value)
            else:
                rejected.append(Rejected(row, value_rule.column, value))
        extending = self._assumed if when.assumed else self._extending
        record = NormalisedRecord(when.time_ms, tuple(values), extending) if values else None
        return Outcome(record, tuple(rejected))

    def _value(
        self, rule: ValueRule, cells: Mapping[str, str], keeps_digits: bool
    ) -> KpiValue | RejectReason:
        text = cells[rule.column].strip()
        if text in self._mapping.missing:
            return RejectReason.MISSING_VALUE
        exact = parse_plain(text) if keeps_digits else None
        if exact is None:
            found = self._exact(rule, cells, text)
            if isinstance(found, RejectReason):
                return found
            exact = found
        if not rule.limits.contains(exact.value):
            return RejectReason.OUT_OF_RANGE
        return KpiValue(rule.indicator, rule.data_point, exact.unscaled, exact.scale, rule.limits.unece_unit)

    def _exact(self, rule: ValueRule, cells: Mapping[str, str], text: str) -> Exact | RejectReason:
        number = parse_number(text, self._mapping.decimal_mark)
        if isinstance(number, RejectReason):
            return number
        unit = rule.unit
        if rule.unit_column is not None:
            unit = self._catalogue.units.find(cells[rule.unit_column].strip())
        if unit is None:
            return RejectReason.UNKNOWN_UNIT
        return self._convert(rule, number, unit)

    def _convert(self, rule: ValueRule, number: Decimal, unit: str) -> Exact | RejectReason:
        target, units = rule.limits.unece_unit, self._catalogue.units
        if unit == target and rule.factor == 1:
            # Digits stay as the source wrote them; rounding happens only where the mapping asks for it.
            return as_written(number) if rule.decimals is None else _round(Fraction(number), rule)
        scaled = Fraction(number) * rule.factor
        special = self._catalogue.special_factor(rule.indicator, rule.data_point, unit)
        if special is not None:
            return _round(scaled * Fraction(special), rule)
        if not units.is_convertible(unit, target):
            return RejectReason.UNIT_MISMATCH
        return _round(units.convert(scaled, unit, target), rule)


def keeps_digits(rule: ValueRule) -> bool:
    """Tell whether numbers stay as they are written: no conversion, no rounding."""
    return rule.unit == rule.limits.unece_unit and rule.factor == 1 and rule.decimals is None


def _round(value: Fraction, rule: ValueRule) -> Exact | RejectReason:
    return rounded(value) if rule.decimals is None else rounded(value, rule.decimals)
