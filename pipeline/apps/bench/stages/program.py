"""One program under measurement: started as its user starts it, watched through its log and the kernel's accounts.

Nothing in the program knows that it is measured.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil

from ops.child import launched
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure
from pipeline.core.errors import TransientError

_LOOK_S: Final = 0.01
_STOP_S: Final = 20.0
_TAIL_LINES: Final = 3
_MIB: Final = 1 << 20
_US: Final = 1e6
_KIB: Final = 1 << 10


class MeasuredProgram:
    """A program, started by ``argv`` and bound to ``cores`` (all where there are none); ended on leaving.

    ``cpu_s`` counts user and system seconds of all its threads, and of its children that have ended.
    """

    def __init__(self, name: str, argv: Sequence[str], cores: Collection[int] = ()) -> None:
        self.name = name
        self._argv = list(argv)
        self._cores = sorted(cores)
        self._lines: list[str] = []

    def __enter__(self) -> "MeasuredProgram":
        # An own session, so that Ctrl-C reaches the benchmark alone, which then ends what it started; where it can't,
        # the kernel does.
        argv = launched(self._argv)
        self._popen = subprocess.Popen(  # noqa: S603  our own programs, named by the deployment
            argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self._process = psutil.Process(self._popen.pid)
        if self._cores:
            self._process.cpu_affinity(self._cores)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._popen.stderr is not None  # noqa: S101  a pipe was asked for
        with self._popen.stderr as lines, contextlib.suppress(ValueError):
            for line in lines:
                self._lines.append(line.rstrip())

    def await_event(self, event: str, timeout_s: float) -> None:
        """Return when the program's log tells of an event.

        Raises:
            TransientError: it ended, or the time ran out; the message has the end of its log.
        """
        deadline, seen = time.monotonic() + timeout_s, 0
        while True:
            lines = self._lines[seen:]
            if any(f'"{event}"' in line for line in lines):
                return
            seen += len(lines)
            self.demand_running()
            if time.monotonic() > deadline:
                raise self._failed(f"did not tell of {event} within {timeout_s:g} s")
            time.sleep(_LOOK_S)

    def demand_running(self) -> None:
        """Raise where the program has ended.

        Raises:
            TransientError: it has; the message has the end of its log.
        """
        if self._popen.poll() is not None:
            raise self._failed(f"ended with code {self._popen.returncode}")

    def _failed(self, why: str) -> TransientError:
        tail = "\n".join(self._lines[-_TAIL_LINES:])
        return TransientError(f"{self.name} {why}: {tail or 'it logged nothing'}", code="bench_program")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def cpu_s(self) -> float:
        """Processor seconds used until now."""
        times = self._process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    @property
    def peak_mib(self) -> float:
        """The most memory that was resident at once, MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        return round(found[0] * _KIB / _MIB, 1) if found else 0.0


def stage_figures(
    plan: BenchPlan, packets: int, cpu_s: float, packets_per_s: float, peak_mib: float
) -> tuple[Figure, ...]:
    """Return the figures of a stage whose programs took ``cpu_s`` for ``packets`` of a plan."""
    us = cpu_s * _US / packets
    return (
        Figure("cpu_us_per_packet", round(us, 1), "µs"),
        Figure("cpu_us_per_value", round(us / plan.values, 2), "µs"),
        Figure("packets", packets),
        Figure("packets_per_second", round(packets_per_s, 1)),
        Figure("values_per_second", round(packets_per_s * plan.values, 1)),
        Figure("peak_memory_mib", peak_mib, "MiB"),
    )


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))
