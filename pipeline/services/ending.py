"""Ending tasks for sure."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN_S: Final = 5.0


async def end(tasks: Iterable[asyncio.Task[Any]], timeout_s: float | None = None) -> None:
    """Cancel tasks and wait until all have ended, or the time is over; their results and errors are not looked at.

    Again and again, because a cancellation can be lost: ``asyncio.wait_for``, which the Kafka client uses, takes the
    result instead where both come together (until Python 3.12), and the task would go on for ever.
    """
    loop = asyncio.get_running_loop()
    deadline_s = None if timeout_s is None else loop.time() + timeout_s
    ending = pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        left_s = _AGAIN_S if deadline_s is None else min(_AGAIN_S, deadline_s - loop.time())
        if left_s <= 0:
            return
        _, pending = await asyncio.wait(pending, timeout=left_s)
    for task in ending:
        if not task.cancelled():
            task.exception()  # seen, so that the loop does not complain of it
