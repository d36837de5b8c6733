"""The processor time of processes and all that they start, as the kernel accounts for it."""

import contextlib
from collections.abc import Iterable, Iterator

import psutil

_ACCOUNTED = 4
"""User and system seconds of a process, and of those of its children that ended and were waited for."""


class Cpu:
    """A meter of user and system seconds of processes, with all threads and descendants; runs from its making.

    The kernel counts in hundredths of a second: measure for seconds. A process that ends counts with what it was last
    seen to have used, so look before ending one (``spent_s``).

    Raises:
        psutil.NoSuchProcess: a process is not there when the meter is made.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._seen: dict[int, float] = {}
        self._from = self._total()

    def spent_s(self) -> float:
        """Return the seconds used since the meter was made or last reset."""
        return self._total() - self._from

    def reset(self) -> None:
        """Count from now on."""
        self._from = self._total()

    def _total(self) -> float:
        for root in self._roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                # A child that ends between two looks moves its time to its parent: read the children first.
                children = sum(_used(child) for child in _descendants(root))
                self._seen[root.pid] = max(self._seen.get(root.pid, 0.0), children + _own(root))
        return sum(self._seen.values())


def _descendants(root: psutil.Process) -> Iterator[psutil.Process]:
    yield from root.children(recursive=True)


def _own(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:_ACCOUNTED]))


def _used(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return _own(process)
    return 0.0
