"""Who of a deployment's programs used how much of the processors, by what the program is."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from ops.child import ChildStatus
from pipeline.apps.bench.report import Cpu, Figure
from pipeline.apps.bench.stages.process import ProcessTree

_US: Final = 1e6
KINDS: Final = ("site", "validator", "node", "platform", "assess", "api", "kafka", "redis", "postgres")
SERVERS: Final = ("kafka", "redis", "postgres")


@dataclass(frozen=True, slots=True)
class Used:
    """Processor seconds of programs by name, and the seconds by the wall in which they were used."""

    by_name: Mapping[str, float]
    wall_s: float

    def by_kind(self) -> dict[str, float]:
        """Return the seconds of all programs of each kind together."""
        found: dict[str, float] = {}
        for name, seconds in self.by_name.items():
            found[kind_of(name)] = found.get(kind_of(name), 0.0) + seconds
        return found

    def shares(self) -> list[Figure]:
        """Return how much of one core each program kept busy, percent."""
        return [
            Figure(f"{name}_share_of_a_core", 100 * seconds / self.wall_s, "%")
            for name, seconds in self.by_name.items()
        ]

    def per_packet(self, packets: int) -> list[Figure]:
        """Return what a packet took of each kind of program; of accounting nodes, of one of them."""
        nodes = sum(kind_of(name) == "node" for name in self.by_name)
        return [
            Figure(
                f"{kind}_cpu_us_per_packet",
                seconds * _US / packets / (nodes if kind == "node" else 1),
                "µs",
            )
            for kind, seconds in self.by_kind().items()
        ]


class Programs:
    """Meters of the programs of a deployment; they count from the making on."""

    def __init__(self, children: Iterable[ChildStatus]) -> None:
        self._pids = {child.name: child.pid for child in children if child.pid is not None}
        self._meters = {name: Cpu([pid]) for name, pid in self._pids.items()}
        self._begun_s = time.monotonic()

    def used(self) -> Used:
        """Return what was used until now."""
        spent = {name: meter.spent_s() for name, meter in self._meters.items()}
        return Used(spent, time.monotonic() - self._begun_s)

    def peaks(self) -> list[Figure]:
        """Return the most memory that each program had resident at once."""
        return [
            Figure(f"{name}_peak_memory_mib", ProcessTree([psutil.Process(pid)]).peak_mib(), "MiB")
            for name, pid in self._pids.items()
        ]


def kind_of(name: str) -> str:
    """Return what a program of a deployment is: its name without the number."""
    return next((kind for kind in KINDS if name == kind or name.startswith(f"{kind}-")), name)
