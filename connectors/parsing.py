"""Text to exact numbers and to GMT. Total: any text gives a value or a reason, never an exception.

Owns syntax only; what a number means (unit, range) is the normaliser's.
"""

import math
import re
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo

from connectors.records import RejectReason
from pipeline.core.names import MAX_LONG, MAX_TIME_MS
from pipeline.core.record import MAX_SCALE

MAX_NUMBER_CHARS = 64
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
# What almost all numbers are: few enough digits to fit whatever they are.
_PLAIN = re.compile(r"([+-]?[0-9]{1,9})(?:\.([0-9]{0,9}))?")
_PLAIN_EPOCH_DIGITS = 15
_NOT_FINITE = frozenset({"nan", "inf", "infinity"})
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - compared with naive wall-clock readings only
_MILLISECOND = timedelta(milliseconds=1)
ISO = "iso8601"
EPOCH_UNITS = {"epoch_s": 1000, "epoch_ms": 1}


class DstRule(StrEnum):
    """How a local time without offset is read where clocks change.

    ``BEFORE`` takes the offset in force before the change: the first of two equal readings, and a reading inside
    the gap moves forward by it. ``AFTER`` takes the offset after the change. ``REJECT`` refuses the row.
    """

    BEFORE = "before"
    AFTER = "after"
    REJECT = "reject"


class Instant(NamedTuple):
    """A GMT time in ms; ``assumed`` says that the clock-change rule had to decide."""

    time_ms: int
    assumed: bool = False


class Exact(NamedTuple):
    """A value as a record carries it: unscaled · 10^-scale, scale 0..9, |unscaled| < 2^63."""

    unscaled: int
    scale: int

    @property
    def value(self) -> Decimal:
        """The value as an exact decimal."""
        return Decimal(f"{self.unscaled}E-{self.scale}")


def parse_number(text: str, decimal_mark: str = ".") -> Decimal | RejectReason:
    """Read one ASCII decimal number, optional exponent; no grouping, no underscores, at most 64 characters."""
    text = text.strip()
    if not text:
        return RejectReason.MISSING_VALUE
    if len(text) > MAX_NUMBER_CHARS:
        return RejectReason.NOT_A_NUMBER
    if text.lstrip("+-").lower() in _NOT_FINITE:
        return RejectReason.NOT_FINITE
    if decimal_mark != ".":
        if "." in text:
            return RejectReason.NOT_A_NUMBER
        text = text.replace(decimal_mark, ".")
    return Decimal(text) if _NUMBER.fullmatch(text) else RejectReason.NOT_A_NUMBER


def parse_plain(text: str) -> Exact | None:
    """Return what ``as_written`` keeps of a number of up to 9 digits before and after the point; None for others."""
    found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    whole, decimals = found.groups("")
    return Exact(int(whole + decimals), len(decimals))


def as_written(value: Decimal) -> Exact | RejectReason:
    """Keep the digits of a finite ``value``; only superfluous trailing zeros may go."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return RejectReason.NOT_FINITE
    unscaled = int("".join(map(str, digits)))
    if unscaled == 0:
        return Exact(0, min(max(-exponent, 0), MAX_SCALE))
    if exponent > 0:
        # An exponent can announce a thousand digits; beyond 19 the product can't fit anyway.
        if exponent > len(str(MAX_LONG)):
            return RejectReason.TOO_LARGE
        unscaled, exponent = unscaled * 10**exponent, 0
    scale = -exponent
    while scale > 0 and unscaled % 10 == 0 and (scale > MAX_SCALE or unscaled > MAX_LONG):
        unscaled, scale = unscaled // 10, scale - 1
    if scale > MAX_SCALE:
        return RejectReason.TOO_PRECISE
    return _bounded(-unscaled if sign else unscaled, scale)


def rounded(value: Fraction, decimals: int = MAX_SCALE) -> Exact | RejectReason:
    """Round half to even at ``decimals`` (0..9) places, then drop trailing zeros."""
    unscaled, scale = round(value * 10**decimals), decimals
    while scale > 0 and unscaled % 10 == 0:
        unscaled, scale = unscaled // 10, scale - 1
    return _bounded(unscaled, scale)


def _bounded(unscaled: int, scale: int) -> Exact | RejectReason:
    return Exact(unscaled, scale) if abs(unscaled) <= MAX_LONG else RejectReason.TOO_LARGE


def parse_time(text: str, form: str, zone: ZoneInfo | None, dst: DstRule) -> Instant | RejectReason:
    """Read a time as GMT ms (Table 10-1 "Time"), cut to whole milliseconds.

    ``form`` is ``iso8601``, ``epoch_s``, ``epoch_ms`` or a strptime pattern. A reading with an offset needs no
    ``zone``; one without is local time in ``zone``, and uncertain if there is none.
    """
    text = text.strip()
    if not text:
        return RejectReason.MISSING_TIME
    if form in EPOCH_UNITS:
        return _epoch(text, EPOCH_UNITS[form])
    try:
        when = datetime.fromisoformat(text) if form == ISO else datetime.strptime(text, form)  # noqa: DTZ007
        offset = when.utcoffset()
    except (ValueError, OverflowError):
        return RejectReason.BAD_TIME
    if offset is not None:
        return _instant(when, offset)
    if zone is None:
        return RejectReason.UNCERTAIN_TIME
    return _local(when, zone, dst)


def _epoch(text: str, factor: int) -> Instant | RejectReason:
    if len(text) <= _PLAIN_EPOCH_DIGITS and text.isascii() and text.isdigit():
        plain_ms = int(text) * factor
        return Instant(plain_ms) if plain_ms <= MAX_TIME_MS else RejectReason.TIME_OUT_OF_RANGE
    number = parse_number(text)
    if isinstance(number, RejectReason):
        return RejectReason.BAD_TIME
    if not 0 <= number <= MAX_TIME_MS:
        return RejectReason.TIME_OUT_OF_RANGE
    time_ms = math.floor(Fraction(number) * factor)
    return Instant(time_ms) if time_ms <= MAX_TIME_MS else RejectReason.TIME_OUT_OF_RANGE


def _local(when: datetime, zone: ZoneInfo, dst: DstRule) -> Instant | RejectReason:
    before, after = (when.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if before is None or after is None:
        return RejectReason.BAD_TIME
    if before == after:
        return _instant(when, before)
    if dst is DstRule.REJECT:
        return RejectReason.UNCERTAIN_TIME
    return _instant(when, before if dst is DstRule.BEFORE else after, assumed=True)


def _instant(when: datetime, offset: timedelta, *, assumed: bool = False) -> Instant | RejectReason:
    # Plain differences: converting years 1 or 9999 to GMT would overflow datetime.
    time_ms = (when.replace(tzinfo=None) - _EPOCH - offset) // _MILLISECOND
    return Instant(time_ms, assumed) if 0 <= time_ms <= MAX_TIME_MS else RejectReason.TIME_OUT_OF_RANGE
