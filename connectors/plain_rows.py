"""The short way for usual rows: lines of plain text cut, timed and weighed by one regular expression for many at once.

Takes only what the general way would certainly take as good, with the same result; every other line is handed to
it whole, and it decides. So the short way can be too strict, never too lax.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from connectors.mapping import SiteMapping, TimeRule, ValueRule
from connectors.normalise import Outcome, keeps_digits
from connectors.parsing import ISO, Instant, parse_time
from connectors.records import Extending, KpiValue, NormalisedRecord, Rejected
from pipeline.core.record import MAX_SCALE

BLANKS: Final = " \t\n\r\x0b\x0c"
"""What a row may consist of and yet be no data: what ``bytes.strip`` takes away."""
_HOUR_MS: Final = 3_600_000
_SECOND_MS: Final = 1000
_MOST_HOURS: Final = 1024
_NOT_EVEN: Final = -1
_WITHIN_HOUR: Final = {
    f"{minute:02}:{second:02}": (minute * 60 + second) * _SECOND_MS
    for minute in range(60)
    for second in range(60)
}
_NEVER: Final = "(?!)"
_TIME_GROUPS: Final = 3
_UNBOUNDED: Final = 10**30
_NOTHING: Final = (1, 0)


@dataclass(slots=True)
class Gathered:
    """What rows became so far; ``count`` are those that hold data, ``skipped`` those of them of another site."""

    records: list[NormalisedRecord] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    count: int = 0
    skipped: int = 0

    def add(self, outcome: Outcome) -> None:
        """Take up what one row became."""
        self.count += 1
        self.skipped += outcome.skipped
        self.rejected.extend(outcome.rejected)
        if outcome.record is not None:
            self.records.append(outcome.record)


class Hours:
    """Hours that rows were in, each by the text around its minutes and seconds, with its first millisecond.

    Only hours that pass evenly count: those in which a clock changes are left to the general way.
    """

    def __init__(self, rule: TimeRule) -> None:
        self._rule = rule
        self._last = ""
        self.starts: dict[str, int] = {}

    def learn(self, before: str, after: str) -> int:
        """Return the start of an hour, GMT ms; below zero where it is not known to pass evenly.

        Asked twice in a row it looks, so that a file with a row an hour costs nothing more.
        """
        key = before + after
        if key != self._last:
            self._last = key
            return _NOT_EVEN
        if len(self.starts) >= _MOST_HOURS:
            self.starts.clear()
        first, last = self._read(before + "00:00" + after), self._read(before + "59:59" + after)
        is_even = first is not None and last is not None and last - first == _HOUR_MS - _SECOND_MS
        self.starts[key] = first if is_even and first is not None else _NOT_EVEN
        return self.starts[key]

    def _read(self, text: str) -> int | None:
        rule = self._rule
        when = parse_time(text, rule.format, rule.zone, rule.dst)
        return when.time_ms if isinstance(when, Instant) and not when.assumed else None


@dataclass(frozen=True, slots=True)
class _Point:
    """One value of a row: its group in the pattern, its name, and the range of its unscaled number by scale."""

    group: int
    indicator: str
    data_point: str
    unit: str
    ranges: tuple[tuple[int, int], ...]


class PlainRows:
    """Reads lines under one header; ``general`` reads a line (number, text) that is not usual."""

    def __init__(
        self, mapping: SiteMapping, columns: Sequence[str], general: Callable[[int, str], Outcome]
    ) -> None:
        self._missing, self._mark, self._general = mapping.missing, mapping.decimal_mark, general
        self._extending = Extending(mapping.sensor, mapping.quality, mapping.source)
        self._hours = Hours(mapping.time)
        groups: dict[str, int] = {}
        usual = _pattern(mapping, columns, groups)
        # Every line is one match: a usual one with its parts, or any other with nothing but itself. The empty group
        # at the end makes matches tuples, whatever the others are.
        self._pattern = re.compile(f"((?:{usual})|[^\n]*)()\n")
        self._time_at = groups.get(mapping.time.column, 0)
        self._keep = [(groups[name], kept) for name, kept in mapping.keep.items()] if groups else []
        self._points = [_point(rule, groups[rule.column]) for rule in mapping.values] if groups else []

    def read(self, text: str, line: int, found: Gathered) -> None:
        """Add the rows of ``text``: whole lines, the first of which is number ``line``, without quotes or NUL."""
        starts, within_hour, time_at = self._hours.starts, _WITHIN_HOUR, self._time_at
        extending, records, general = self._extending, found.records, self._general
        usual = skipped = 0
        for number, groups in enumerate(self._pattern.findall(text), line):
            before = groups[time_at] if time_at else ""
            if before:
                if self._keep and any(groups[group] not in kept for group, kept in self._keep):
                    skipped += 1
                    continue
                start = starts.get(before + groups[time_at + 2])
                if start is None:
                    start = self._hours.learn(before, groups[time_at + 2])
                values = self._values(groups) if start >= 0 else None
                if values is not None:
                    usual += 1
                    records.append(
                        NormalisedRecord(start + within_hour[groups[time_at + 1]], values, extending)
                    )
                    continue
            if groups[0].strip(BLANKS):
                found.add(general(number, groups[0]))
        found.count += usual + skipped
        found.skipped += skipped

    def _values(self, groups: tuple[str, ...]) -> tuple[KpiValue, ...] | None:
        """Return the values of a row, or None where one of them is missing or out of its range."""
        values = []
        for point in self._points:
            text = groups[point.group]
            if text in self._missing:
                return None
            whole, _, decimals = text.partition(self._mark)
            unscaled, scale = int(whole + decimals), len(decimals)
            low, high = point.ranges[scale]
            if not low <= unscaled <= high:
                return None
            values.append(KpiValue(point.indicator, point.data_point, unscaled, scale, point.unit))
        return tuple(values)


def _pattern(mapping: SiteMapping, columns: Sequence[str], groups: dict[str, int]) -> str:
    """Return what a usual row looks like, and note in ``groups`` where its columns are; what never is, if none can be.

    The whole line is group 0 of a match; the time takes three: what is before, in, and after minutes and seconds.
    """
    rule, values = mapping.time, {value.column for value in mapping.values}
    is_usual = rule.format == ISO and all(map(keeps_digits, mapping.values))
    roles = [{rule.column}, values, set(mapping.keep)]
    if not is_usual or len(set().union(*roles)) != sum(map(len, roles)):
        return _NEVER
    delimiter, mark = re.escape(mapping.delimiter), re.escape(mapping.decimal_mark)
    if delimiter == mark:
        return _NEVER  # what belongs to which field only quotes can tell
    other = f"[^{delimiter}\n]"
    number = f"([+-]?[0-9]{{1,9}}(?:{mark}[0-9]{{0,9}})?)"  # so few digits fit whatever they are
    parts, group = [], 1
    for name in columns:
        if name == rule.column:
            parts.append(f"({other}{{13}}:)([0-5][0-9]:[0-5][0-9])({other}*)")
        elif name in values or name in mapping.keep:
            parts.append(number if name in values else f"({other}*)")
        else:
            parts.append(f"{other}*")
            continue
        groups[name], group = group, group + (_TIME_GROUPS if name == rule.column else 1)
    return delimiter.join(parts)


def _point(rule: ValueRule, group: int) -> _Point:
    ranges = tuple(_range(rule, scale) for scale in range(MAX_SCALE + 1))
    return _Point(group, rule.indicator, rule.data_point, rule.limits.unece_unit, ranges)


def _range(rule: ValueRule, scale: int) -> tuple[int, int]:
    """Return the least and greatest unscaled number of a scale that the definition allows."""
    limits = rule.limits
    if limits.whole and scale:
        return _NOTHING  # whether decimals are all zero is the general way's to say
    low = -_UNBOUNDED if limits.low is None else math.ceil(Fraction(limits.low) * 10**scale)
    high = _UNBOUNDED if limits.high is None else math.floor(Fraction(limits.high) * 10**scale)
    return low, high
