"""Asking for stored assessments: filters, order and place in a list of them."""

from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.assess.model import Assessment, Cell
from pipeline.core.names import MAX_LONG

ORDER: Final = (
    "window_start",
    "country",
    "city",
    "indicator",
    "site_id",
    "data_point",
    "kind",
    "formula",
    "window_end",
)
"""Columns of the key in the order of lists: oldest first."""
Place = tuple[Any, ...]
"""Where a list stopped: the last item's values of ``ORDER``."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which assessments are wanted: equal to what is given, windows that begin in ``from_ms`` … ``to_ms``, exclusive.

    A ``site_id`` or ``indicator`` that is empty asks for a city's own figures; None asks for all.
    """

    country: str | None = None
    city: str | None = None
    site_id: str | None = None
    indicator: str | None = None
    kind: str | None = None
    window: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def equal(self) -> dict[str, str]:
        """Return the columns that have to have a certain value."""
        names = ("country", "city", "site_id", "indicator", "kind", "window")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def may_include(self, cell: Cell) -> bool:
        """Tell whether assessments of a cell can be wanted."""
        window = cell.window
        return (
            self.country in (None, cell.country)
            and self.city in (None, cell.city)
            and self.window in (None, window.period.value)
            and (self.from_ms is None or window.start >= self.from_ms)
            and (self.to_ms is None or window.start < self.to_ms)
        )

    def includes(self, item: Assessment) -> bool:
        """Tell whether an assessment is wanted."""
        return (
            self.may_include(Cell(item.country, item.city, item.window))
            and self.site_id in (None, item.site_id)
            and self.indicator in (None, item.indicator)
            and self.kind in (None, item.kind.value)
        )


def place_of(item: Assessment) -> Place:
    """Return an assessment's place in lists."""
    return (
        item.window.start,
        item.country,
        item.city,
        item.indicator,
        item.site_id,
        item.data_point,
        item.kind.value,
        item.formula,
        item.window.end,
    )


def is_place(value: tuple[Any, ...]) -> bool:
    """Tell whether values have the form of a place, and fit the columns that they will be compared with."""
    return len(value) == len(ORDER) and all(
        _is_time(item) if name.startswith("window_") else type(item) is str and item.isprintable()
        for name, item in zip(ORDER, value, strict=True)
    )


def _is_time(item: object) -> bool:
    """Tell whether a value fits a column of 64 bits; databases refuse others by errors of their own."""
    return type(item) is int and -MAX_LONG <= item <= MAX_LONG
