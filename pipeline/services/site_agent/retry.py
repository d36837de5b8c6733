"""Retrying: capped exponential back-off, and one log line per change of state instead of one per attempt."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.core.errors import BkdmsError
from pipeline.services.site_agent.needs import Log

_MAX_DOUBLINGS = 16
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """Back-off between attempts, seconds: ``first_s`` doubled up to ``longest_s``, then spread by ``jitter``.

    ``jitter`` takes a delay and returns one near it, so that many sites don't come back at once.
    """

    first_s: float
    longest_s: float
    jitter: Callable[[float], float]

    def delay_s(self, failures: int) -> float:
        """Return how long to wait after that many failures in a row, from 1."""
        plain = self.first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        return self.jitter(min(self.longest_s, plain))


class Link:
    """Whether something outside works; logs when that changes."""

    def __init__(self, name: str, retry: Retry, log: Log) -> None:
        self._name = name
        self._retry = retry
        self._log = log
        self._failures = 0
        self._code = ""

    @property
    def is_down(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    def failed(self, error: BkdmsError) -> float:
        """Count a failed attempt and return how long to wait, seconds."""
        self._failures += 1
        if error.code != self._code:
            self._code = error.code
            self._log.warning(f"{self._name}_fails", code=error.code, error=str(error))
        return self._retry.delay_s(self._failures)

    def works(self) -> None:
        """Note a success."""
        if self._failures:
            self._log.info(f"{self._name}_works_again", attempts=self._failures)
        self._failures, self._code = 0, ""


async def settled(call: Callable[[], T]) -> T:
    """Run a blocking call in a thread; when cancelled, let it finish first, so that nothing runs on unseen."""
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def wait_for_wake(wake: asyncio.Event, seconds: float | None) -> None:
    """Wait until ``wake`` is set or the time is over, and clear it."""
    # Not asyncio.wait_for: up to Python 3.11 it loses a cancellation that comes together with the wake.
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return
    finally:
        wake.clear()
