"""Series of samples of a soak, and whether each stays flat over the second half of the run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

SETTLED_S: Final = 20.0
"""Of a program that was just started nothing is judged: it still loads."""
OF_PROCESSES: Final = frozenset({"memory_mib", "descriptors", "threads"})
MEMORY_GROWTH: Final = 0.10
DESCRIPTORS_GROWTH: Final = 8.0
THREADS_GROWTH: Final = 4.0
KEYS_GROWTH: Final = 4.0
SPOOL_PERIODS: Final = 10
"""A record waits in a spool until its block is published and the site has asked for its head."""
# What a Java machine takes grows up to its own bound, whatever runs in it.
_NOT_JUDGED: Final = frozenset({("kafka", "memory_mib")})


@dataclass(frozen=True, slots=True)
class Sample:
    """What one part was seen to use, ``at_s`` after the load began; ``age_s`` is how long its process runs."""

    at_s: float
    part: str
    age_s: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What comes in one period of the chain: packets, and values."""

    packets: float
    values: float


@dataclass(frozen=True, slots=True)
class Flatness:
    """One series: median of each half, growth over the second half by its slope, lowest in the last quarter.

    ``bound`` says what is allowed; empty for a series that grows by design, which is shown alone.
    """

    part: str
    series: str
    first: float | None
    second: float | None
    growth: float | None
    lowest: float | None
    bound: str
    is_flat: bool


def judge(samples: Sequence[Sample], bounds: Bounds) -> list[Flatness]:
    """Return every series of a run by part and name, judged."""
    names = sorted({(sample.part, name) for sample in samples for name in sample.values})
    end_s = max((sample.at_s for sample in samples), default=0.0)
    return [_judged(part, name, _points(samples, part, name), end_s, bounds) for part, name in names]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between all pairs of points (Theil and Sen): single peaks do not move it."""
    slopes = [
        (y2 - y1) / (x2 - x1)
        for place, (x1, y1) in enumerate(points)
        for x2, y2 in points[place + 1 :]
        if x2 > x1
    ]
    return median(slopes) if slopes else 0.0


def _points(samples: Iterable[Sample], part: str, name: str) -> list[tuple[float, float]]:
    return [
        (sample.at_s, sample.values[name])
        for sample in samples
        if sample.part == part
        and name in sample.values
        and (name not in OF_PROCESSES or sample.age_s >= SETTLED_S)
    ]


def _judged(
    part: str, name: str, points: list[tuple[float, float]], end_s: float, bounds: Bounds
) -> Flatness:
    half = [point for point in points if point[0] > end_s / 2]
    first = [value for at_s, value in points if at_s <= end_s / 2]
    last = [value for at_s, value in points if at_s >= end_s * 3 / 4]
    second = [value for _, value in half]
    growth = slope(half) * end_s / 2 if len(half) > 1 else None
    lowest = min(last, default=None)
    bound, is_flat = _bound((part, name), bounds, growth, lowest, fmean(second) if second else 0.0)
    return Flatness(part, name, _median(first), _median(second), _rounded(growth), lowest, bound, is_flat)


def _bound(
    series: tuple[str, str], bounds: Bounds, growth: float | None, lowest: float | None, mean: float
) -> tuple[str, bool]:
    """Say what is allowed of a series, and whether it keeps to it; a judged one without samples does not."""
    kept = growth is not None and lowest is not None
    grown, least = growth or 0.0, lowest or 0.0
    _, name = series
    if series in _NOT_JUDGED:
        return "", True
    if name in ("memory_mib", "used_mib"):
        return f"grows < {MEMORY_GROWTH:.0%}", kept and grown < MEMORY_GROWTH * mean
    counts = {"descriptors": DESCRIPTORS_GROWTH, "threads": THREADS_GROWTH, "keys": KEYS_GROWTH}
    if name in counts:
        return f"grows < {counts[name]:.0f}", kept and grown < counts[name]
    returns = {"lag": bounds.packets, "spool_records": SPOOL_PERIODS * bounds.values}
    if name in returns:
        most = max(1.0, returns[name])
        return f"comes back to {most:.0f}, grows no more", kept and least <= most and grown <= most
    return "", True


def _median(values: list[float]) -> float | None:
    return round(median(values), 1) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
