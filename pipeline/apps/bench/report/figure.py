"""A figure: what was measured, how much, in which unit."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number with its unit, which is empty for counts and ratios.

    Raises:
        ValueError: the value is not a finite number.
    """

    name: str
    value: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name} is not a finite number")

    def shown(self) -> str:
        """Return the value as a table shows it: four digits that count, whole numbers in full."""
        whole = abs(self.value) >= 10 ** (_DIGITS - 1) or float(self.value).is_integer()
        return f"{self.value:,.0f}" if whole else f"{self.value:.{_DIGITS}g}"

    def as_json(self) -> dict[str, Any]:
        """Return the figure as a JSON value."""
        return {"name": self.name, "value": self.value, "unit": self.unit}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Figure":
        """Return the figure of a JSON value.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        return cls(str(value["name"]), float(value["value"]), str(value["unit"]))


def by_name(figures: Iterable[Figure]) -> dict[str, float]:
    """Return the values of figures by their names."""
    return {figure.name: figure.value for figure in figures}
