"""Units of measure: UNECE Recommendation 20 codes and exact conversions between those we use.

Owns names and arithmetic of units. Refuses to guess: a unit without an exact factor does not convert.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """One row of Recommendation 20; ``status`` is empty, ``D`` (deprecated) or ``X`` (deleted)."""

    code: str
    name: str
    symbol: str
    status: str
    conversion_factor: str


@dataclass(frozen=True, slots=True)
class UnitFactor:
    """How a unit relates to its quantity's base unit: base = (value + shift) · factor, exactly."""

    code: str
    quantity: str
    factor: Fraction
    shift: Fraction
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnitTable:
    """All known units by code, and the factors of those that convert."""

    units: Mapping[str, Unit]
    factors: Mapping[str, UnitFactor]
    aliases: Mapping[str, str]

    def find(self, text: str) -> str | None:
        """The code meant by ``text``: a valid code of Recommendation 20, or one of our aliases such as ``km/h``."""
        unit = self.units.get(text)
        if unit is not None and unit.status != "X":
            return text
        return self.aliases.get(text)

    def is_convertible(self, source: str, target: str) -> bool:
        """Whether a value in unit ``source`` can be expressed in unit ``target``; both are codes."""
        if source == target:
            return source in self.units
        a, b = self.factors.get(source), self.factors.get(target)
        return a is not None and b is not None and a.quantity == b.quantity

    def convert(self, value: Decimal | Fraction, source: str, target: str) -> Fraction:
        """Express the finite ``value`` in unit ``target``, exactly.

        Raises:
            ValueError: the units do not convert; ask ``is_convertible`` first.
        """
        if not self.is_convertible(source, target):
            raise ValueError(f"no exact conversion from unit {source!r} to {target!r}")
        exact = Fraction(value)
        if source == target:
            return exact
        a, b = self.factors[source], self.factors[target]
        return (exact + a.shift) * a.factor / b.factor - b.shift


def read_units(rows: list[dict[str, str]], factor_rows: list[dict[str, str]]) -> UnitTable:
    """Build the table from ``units.csv`` and ``unit_factors.csv``.

    Raises:
        ValueError: a code occurs twice, a factor names an unknown or deleted unit or is not positive, or an
            alias is taken.
    """
    units: dict[str, Unit] = {}
    for row in rows:
        if row["code"] in units:
            raise ValueError(f"units.csv: unit {row['code']!r} occurs twice")
        units[row["code"]] = Unit(**row)
    factors: dict[str, UnitFactor] = {}
    aliases: dict[str, str] = {}
    for row in factor_rows:
        factor = _factor(row)
        known = units.get(factor.code)
        if known is None or known.status == "X" or factor.code in factors or factor.factor <= 0:
            raise ValueError(
                f"unit_factors.csv: row {factor.code!r} is unknown, deleted, repeated or not positive"
            )
        factors[factor.code] = factor
        for alias in factor.aliases:
            if alias in aliases or (alias in units and units[alias].status != "X"):
                raise ValueError(f"unit_factors.csv: alias {alias!r} already means another unit")
            aliases[alias] = factor.code
    return UnitTable(units, factors, aliases)


def _factor(row: dict[str, str]) -> UnitFactor:
    return UnitFactor(
        row["code"],
        row["quantity"],
        Fraction(row["numerator"]) / Fraction(row["denominator"]),
        Fraction(row["shift"]),
        tuple(filter(None, row["aliases"].split(";"))),
    )
