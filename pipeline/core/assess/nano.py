"""Exact arithmetic of analysis: values as whole numbers of 10^-9, results rounded half to even at nine decimals."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from pipeline.core.record import MAX_SCALE

NANO: Final[int] = 10**MAX_SCALE
"""How many of our whole numbers make one."""
_EXACT: Final = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]{1,9}))?", re.ASCII)


def nano_of_text(text: str) -> int | None:
    """Return an exact decimal, as the store has it, in 10^-9; None for any other text. Total."""
    match = _EXACT.fullmatch(text)
    if match is None:
        return None
    sign, whole, places = match.groups()
    digits: str = whole + (places or "").ljust(MAX_SCALE, "0")
    value = int(digits)
    return -value if sign else value


def nano_of(value: Fraction | Decimal) -> int:
    """Return a number in 10^-9, rounded half to even."""
    exact = Fraction(value) * NANO
    return round(exact)


def decimal_of(value: Fraction) -> Decimal:
    """Return a result as a decimal of at most nine places, rounded half to even, without trailing zeros."""
    sign, digits = "-" if (rounded := round(value * NANO)) < 0 else "", f"{abs(rounded):0{MAX_SCALE + 1}d}"
    places = digits[-MAX_SCALE:].rstrip("0")
    return Decimal(f"{sign}{digits[:-MAX_SCALE]}.{places}" if places else sign + digits[:-MAX_SCALE])


def percent(achieved: int, possible: int) -> Fraction:
    """Return achieved of possible in per cent.

    Raises:
        ZeroDivisionError: nothing was possible.
    """
    return Fraction(100 * achieved, possible)
