"""What processes used of processor and memory, and a stage's figures out of that."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from pipeline.apps.bench.report.figure import Figure

_US: Final = 1e6
_KIB_PER_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class ProcessTree:
    """Some processes and all that they started."""

    roots: Sequence[psutil.Process]

    def cpu_s(self) -> float:
        """Return the processor seconds used until now, user and system, ended children included."""
        return sum(sum(process.cpu_times()[:4]) for process in self.roots) + sum(
            self._living(child) for process in self.roots for child in process.children(recursive=True)
        )

    def peak_mib(self) -> float:
        """Return the most memory that the first process had resident at once, MiB."""
        for process in self.roots[:1]:
            lines = Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
            sizes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
            return round(sizes[0] / _KIB_PER_MIB, 1)
        return 0.0

    @staticmethod
    def _living(process: psutil.Process) -> float:
        with contextlib.suppress(psutil.NoSuchProcess):
            return float(sum(process.cpu_times()[:2]))
        return 0.0


def stage_figures(
    packets: int, values: int, cpu_s: float, wall_s: float, peak_mib: float
) -> tuple[Figure, ...]:
    """Return the figures of a stage: ``packets`` of ``values`` values took ``cpu_s`` in ``wall_s``."""
    count = packets * values
    return (
        Figure("packets_measured", packets),
        Figure("cpu_us_per_packet", round(cpu_s * _US / packets, 1), "µs"),
        Figure("cpu_us_per_value", round(cpu_s * _US / count, 2), "µs"),
        Figure("packets_per_second", round(packets / wall_s, 1), "1/s"),
        Figure("values_per_second", round(count / wall_s), "1/s"),
        Figure("values_per_cpu_second", round(count / cpu_s), "1/s"),
        Figure("seconds", round(wall_s, 2), "s"),
        Figure("peak_memory_mib", peak_mib, "MiB"),
    )
