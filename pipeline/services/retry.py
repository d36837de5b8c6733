"""Repeats a step that failed for now, with growing pauses; says so once, not at every attempt."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from typing import TypeVar

import structlog

from pipeline.core.errors import TransientError

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)
_LONGEST_PAUSE_S = 5.0


async def retried(
    doing: str, step: Callable[[], Awaitable[_T]], failed: Callable[[TransientError], None] | None = None
) -> _T:
    """Return what ``step`` gives once it does not raise ``TransientError``; ``failed`` sees each failure."""
    for attempt, pause_s in enumerate(chain(_PAUSES_S, repeat(_LONGEST_PAUSE_S))):
        try:
            result = await step()
        except TransientError as error:
            if failed is not None:
                failed(error)
            if attempt == 0:
                _log.warning("retrying", doing=doing, code=error.code, error=str(error))
            await asyncio.sleep(pause_s)
        else:
            if attempt:
                _log.info("recovered", doing=doing, attempts=attempt)
            return result
    raise AssertionError("repeat never ends")
