"""Unit costs of all programs, as runs of the whole pipeline measured them for packets of different sizes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.apps.bench.report.figure import by_name
from pipeline.apps.bench.report.results import Result
from pipeline.core.errors import ConfigError

BENCH: Final = "pipeline"
PROGRAMS: Final = ("validator", "node", "platform", "kafka", "redis")
"""Whose processor time a packet takes; ``node`` is one accounting node."""
SIZES: Final = ("packet_bytes", "block_bytes_per_packet", "store_bytes_per_packet")
_CPU: Final = "{}_cpu_us_per_packet"
_SIZES_OF_PACKETS: Final = 2
_HOW: Final = "run 'bkdms bench pipeline --values-per-packet {} --results {}' first"


@dataclass(frozen=True, slots=True)
class Line:
    """A cost that grows with a packet's values: so much a packet and so much more for each value in it."""

    packet: float
    value: float

    def at(self, values: int) -> float:
        """Return the cost of a packet of so many values."""
        return self.packet + self.value * values


@dataclass(frozen=True, slots=True)
class Costs:
    """What a packet takes: µs of a core by program, and bytes by place; none below 0."""

    cpu_us: Mapping[str, Line]
    sizes: Mapping[str, Line]


def costs_of(results: Iterable[Result], file: str) -> Costs:
    """Return the costs that the runs of ``bench pipeline`` in a results file give; of equal sizes the last run counts.

    Raises:
        ConfigError: there are no runs with packets of two sizes, or one lacks a figure.
    """
    runs = {
        int(result.arguments["values_per_packet"]): by_name(result.figures)
        for result in results
        if result.bench == BENCH
    }
    if len(runs) < _SIZES_OF_PACKETS:
        missing = next(size for size in (1, 200) if size not in runs)
        raise ConfigError(f"{file}: costs need runs with packets of two sizes; {_HOW.format(missing, file)}")
    cpu = {name: _line(runs, _CPU.format(name), file) for name in PROGRAMS}
    return Costs(cpu, {name: _line(runs, name, file) for name in SIZES})


def _line(runs: Mapping[int, Mapping[str, float]], name: str, file: str) -> Line:
    try:
        points = sorted((size, figures[name]) for size, figures in runs.items())
    except KeyError:
        raise ConfigError(f"{file}: a run lacks {name}; {_HOW.format(200, file)}") from None
    return fitted(points)


def fitted(points: Sequence[tuple[int, float]]) -> Line:
    """Return the line through the smallest and the largest size, with no part below 0."""
    (low, first), (high, last) = points[0], points[-1]
    value = max((last - first) / (high - low), 0.0)
    return Line(max(first - value * low, 0.0), value)
