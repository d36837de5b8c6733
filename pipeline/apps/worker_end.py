"""How a worker ends: told in one line, with its exit code, and for sure.

Where services do not end by themselves, the process is ended by force. A thread sees to it, since what hangs may be the
event loop itself. Every step leaves its data consistent wherever it is cut, so nothing is lost by that.
"""

import asyncio
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from pipeline.core.errors import BkdmsError, ConfigError
from pipeline.telemetry.logs import logger

EXIT_GOOD: Final = 0
EXIT_CRASHED: Final = 1
EXIT_SETTINGS: Final = 2
END_TIMEOUT_S: Final = 25.0
"""From the beginning of an end to an end by force: 15 s for the step under way, the rest for letting everything go."""
_TELL_TIMEOUT_S: Final = 3.0  # a log that nobody reads must not keep the process
_MOST_NAMED: Final = 12
_IDLE: Final = "_worker"  # of a pool's thread with nothing to do

_log = logger(__name__)


class WorkerEnd:
    """The end of the worker that runs in this process. Once begun it comes, after ``timeout_s`` at the latest."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, timeout_s: float = END_TIMEOUT_S) -> None:
        self._name, self._loop, self._timeout_s = name, loop, timeout_s
        self._crash: BaseException | None = None
        self._is_told = False
        # Takes no lock that a signal's handler could find taken.
        self._begun: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._see_to_it, name="worker-end", daemon=True).start()

    def begin(self, crash: BaseException | None = None) -> None:
        """Say that the end has begun, by a crash if there is one; the first crash counts. Harmless when repeated."""
        self._crash = self._crash or crash
        self._begun.put(None)

    def tell(self, **more: object) -> int:
        """Tell how the worker ended and return its exit code: 0 stopped, 1 crashed or cut off, 2 a setting is wrong."""
        crash, self._is_told = self._crash, True
        if crash is None and more:
            _log.error("worker_stopped", worker=self._name, **more)
        elif crash is None:
            _log.info("worker_stopped", worker=self._name)
        elif isinstance(crash, BkdmsError):
            _log.error("worker_crashed", worker=self._name, code=crash.code, reason=str(crash), **more)
        else:
            _log.error(
                "worker_crashed",
                worker=self._name,
                code="defect",
                reason=repr(crash),
                exc_info=crash,
                **more,
            )
        return self._code(is_cut_off=bool(more))

    def _code(self, *, is_cut_off: bool) -> int:
        if isinstance(self._crash, ConfigError):
            return EXIT_SETTINGS
        return EXIT_CRASHED if self._crash is not None or is_cut_off else EXIT_GOOD

    def _see_to_it(self) -> None:
        self._begun.get()
        time.sleep(self._timeout_s)
        try:
            telling = threading.Thread(target=self._tell_cut_off, daemon=True)
            telling.start()
            telling.join(_TELL_TIMEOUT_S)
        finally:
            os._exit(self._code(is_cut_off=True))

    def _tell_cut_off(self) -> None:
        left = unfinished(self._loop)
        if self._is_told:
            _log.error("end_forced", worker=self._name, after_s=self._timeout_s, unfinished=left)
        else:
            self.tell(after_s=self._timeout_s, unfinished=left)
        sys.stderr.flush()


def unfinished(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Name the code in which tasks of a loop wait and threads are that keep the process; for another thread to ask."""
    tasks = [_named(_awaiting(task.get_coro())) for task in asyncio.all_tasks(loop)]
    frames = sys._current_frames()
    threads = [
        f"{thread.name}: {_named(_calling(frames[thread.ident]))}"
        for thread in threading.enumerate()
        if not thread.daemon and thread.ident in frames
    ]
    return (
        sorted(text for text in threads if not text.endswith(_IDLE))[:_MOST_NAMED]
        + sorted(tasks)[:_MOST_NAMED]
    )


def _awaiting(coroutine: Any) -> Iterator[FrameType]:
    """Yield the frames of a task from the outermost to where it waits."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None:
            yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)


def _calling(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of a thread from the outermost to where it is."""
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    yield from reversed(stack)


def _named(frames: Iterator[FrameType]) -> str:
    """Name the outermost function and the two innermost ones; no values, which may be secret."""
    names = [frame.f_code.co_qualname for frame in frames]
    return " > ".join(names if len(names) <= 3 else [names[0], "…", *names[-2:]])
