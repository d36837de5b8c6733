"""How primitives are timed: interleaved rounds, the lowest of the rounds' medians, the thread's own processor time.

Another program can only make a step slower, and rarely the same step in every round; so the lowest median is nearest
to what the step costs. Of a server the kernel tells hundredths of a second, so that its rounds are averaged.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from pipeline.apps.bench.floor.floor import Cost

Step = Callable[[], object]
ROUNDS: Final = 5
_SAMPLES: Final = 9
_SAMPLE_NS: Final = 400_000
"""A sample is as many calls as take this long, so that reading the clock does not count."""
_MOST_CALLS: Final = 4096


@dataclass(frozen=True, slots=True)
class Primitive:
    """Something that a stage can't do without: its name, and what measures one round of it."""

    name: str
    measure: Callable[[], Cost]


def local(name: str, step: Step, per: int = 1) -> Primitive:
    """Return a primitive of this thread alone, of which one call of ``step`` does ``per``."""
    calls = 0

    def measure() -> Cost:
        nonlocal calls
        calls = calls or _enough(step)
        return Cost(statistics.median(_ns(step, calls) for _ in range(_SAMPLES)) / calls / per / 1e3)

    return Primitive(name, measure)


def lowest(
    primitives: Sequence[Primitive], rounds: int = ROUNDS, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Cost]:
    """Return by name what each primitive costs, measured in turn for so many rounds."""
    found: dict[str, list[Cost]] = {primitive.name: [] for primitive in primitives}
    for _ in range(rounds):
        for primitive in primitives:
            found[primitive.name].append(primitive.measure())
            progress(1)
    return {
        name: Cost(min(cost.us for cost in costs), statistics.fmean(cost.server_us for cost in costs))
        for name, costs in found.items()
    }


def _enough(step: Step) -> int:
    step()
    calls = 1
    while calls < _MOST_CALLS and _ns(step, calls) < _SAMPLE_NS:
        calls *= 2
    return calls


def _ns(step: Step, calls: int) -> int:
    begun = time.thread_time_ns()
    for _ in repeat(None, calls):
        step()
    return time.thread_time_ns() - begun
