"""A small simulation of one chain's queues: when packets that sites send are committed and stored.

Service times are the measured ones and do not vary. What is simulated is waiting: behind other packets, and for the
period's end. No fault, no network and no disk is in it.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from pipeline.apps.bench.figures import spread


@dataclass(frozen=True, slots=True)
class Station:
    """So many processes that serve one packet each at a time, in the order of their coming.

    Raises:
        ValueError: nobody serves, or in no time at all.
    """

    servers: int
    service_s: float

    def __post_init__(self) -> None:
        if self.servers < 1 or self.service_s <= 0:
            raise ValueError("a station has somebody who serves, and it takes time")


@dataclass(frozen=True, slots=True)
class Chain:
    """Stations of one chain and its period, in seconds."""

    validators: Station
    node: Station
    platform: Station
    period_s: float


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from a packet's sending, and the longest queue."""

    to_commit: dict[str, float]
    to_store: dict[str, float]
    longest_queue: int


def arrivals(sites: int, interval_s: float, within_s: float, rounds: int, random: Random) -> list[float]:
    """Return when packets are sent, in order: by each site once in the first ``within_s`` of each interval."""
    return sorted(
        number * interval_s + random.random() * within_s for number in range(rounds) for _ in range(sites)
    )


def served(times: Iterable[float], station: Station) -> list[float]:
    """Return when packets that come at ``times``, in order, have been served, in the order of their coming."""
    free = [0.0] * station.servers
    done = []
    for time in times:
        end = max(time, free[0]) + station.service_s
        heapq.heapreplace(free, end)
        done.append(end)
    return done


def simulate(chain: Chain, sent: Sequence[float]) -> Waits:
    """Send packets at the times given, in order, through a chain.

    A block is derived by its node when its period is over and everything before has been derived.
    """
    appended = served(sent, chain.validators)
    derived = served(appended, chain.node)
    # Nodes read while the period is open; what they have read is committed when it closes.
    committed = [
        max(ready, (in_log // chain.period_s + 1) * chain.period_s)
        for in_log, ready in zip(appended, derived, strict=True)
    ]
    stored = served(committed, chain.platform)
    return Waits(
        spread([done - begun for begun, done in zip(sent, committed, strict=True)]),
        spread([done - begun for begun, done in zip(sent, stored, strict=True)]),
        longest_queue(sent, derived),
    )


def longest_queue(entered: Sequence[float], left: Sequence[float]) -> int:
    """Return the most packets that were inside at one time; both in order."""
    most = gone = 0
    for number, time in enumerate(entered, 1):
        while left[gone] <= time:
            gone += 1
        most = max(most, number - gone)
    return most
