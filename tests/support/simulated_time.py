"""An event loop in simulated time: its clock jumps to the next timer, and threads do their work in place.

With it several programs run in one thread, in an order that is the same in every run, and hours cost milliseconds.
"""

import asyncio
import selectors
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

_T = TypeVar("_T")


class DeadlockError(Exception):
    """Everybody waits and no timer is set."""


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: adds the time that the loop would have waited to ``elapsed_s``."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError
        self.elapsed_s += max(0.0, timeout)
        return super().select(0)


class InPlaceExecutor:
    """A pool of threads without threads: work is done where it is given, in order."""

    def __init__(self, _threads: int) -> None:
        """Take the size of the pool."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for nothing."""

    def map(self, work: Callable[[_T], object], items: Iterable[_T]) -> Iterator[object]:
        """Do the work for each item."""
        return map(work, items)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The loop; ``time`` begins at 0 and moves only when everybody waits."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return simulated seconds."""
        return self._jumping.elapsed_s

    def run_in_executor(  # type: ignore[override]
        self, _executor: object, work: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Do the work at once, in this thread."""
        future = self.create_future()
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def run_for(self, seconds: float) -> None:
        """Let this much time pass."""
        self.run_until_complete(asyncio.sleep(seconds))
