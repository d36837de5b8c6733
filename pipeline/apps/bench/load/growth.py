"""What a packet costs as a ledger grows: by its entries, by its sites, by the number of chains beside each other."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pipeline.apps.bench.report import Figure, Result
from pipeline.apps.bench.report.figure import by_name

ENTRIES: Final = (10_000, 100_000, 1_000_000)
SITES: Final = (10, 100, 1_000, 10_000, 100_000)
CHAINS: Final = (1, 2, 4, 8, 16)
COST: Final = "cpu_us_per_packet"
_USUAL_SITES: Final = 100


@dataclass(frozen=True, slots=True)
class Point:
    """A ledger of one size: the last ``packets`` of ``entries`` entries are measured, in each of ``chains`` chains."""

    axis: str
    entries: int
    sites: int
    chains: int
    packets: int

    @property
    def size(self) -> int:
        """How far the point is along its axis."""
        return int(getattr(self, self.axis))

    def as_json(self) -> dict[str, Any]:
        """Return the point as a JSON value."""
        return asdict(self)


def points(axes: Iterable[str], packets: int, up_to: int | None) -> list[Point]:
    """Return the points of the axes, small ones first; none beyond ``up_to``, but the first of each axis always."""
    found = []
    for axis in axes:
        sizes = {"entries": ENTRIES, "sites": SITES, "chains": CHAINS}[axis]
        kept = [size for size in sizes if up_to is None or size <= up_to] or [sizes[0]]
        found += [_point(axis, size, packets) for size in kept]
    return found


def _point(axis: str, size: int, packets: int) -> Point:
    if axis == "entries":
        return Point(axis, size, _USUAL_SITES, 1, min(packets, size // 2))
    if axis == "sites":
        return Point(axis, 2 * packets, size, 1, packets)
    return Point(axis, 2 * packets, _USUAL_SITES, size, packets)


def costs(results: Iterable[Result], axis: str) -> dict[int, float]:
    """Return what a packet costs at each measured size of an axis; of equal ones the last run counts."""
    runs = [result for result in results if result.bench == "grow" and result.arguments.get("axis") == axis]
    found = {int(run.arguments[axis]): by_name(run.figures)[COST] for run in runs}
    return dict(sorted(found.items()))


def slope(found: dict[int, float]) -> list[Figure]:
    """Return how the cost changes with ten times the size (least squares), and how far it is from the first at most.

    Nothing where there are not two sizes.
    """
    if len(found) < 2:
        return []
    first = next(iter(found.values()))
    tens = [math.log10(size) for size in found]
    relative = [100 * cost / first for cost in found.values()]
    furthest = max((each - 100 for each in relative), key=abs)
    return [
        Figure("change_for_ten_times", _least_squares(tens, relative), "%"),
        Figure("largest_change", furthest, "%"),
    ]


def _least_squares(x: Sequence[float], y: Sequence[float]) -> float:
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - middle_x) ** 2 for a in x)
