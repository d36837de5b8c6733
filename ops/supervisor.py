"""Runs named child processes: readiness, restart with back-off, end in order, no orphans.

One thread of its own forks and watches them all, because the kernel kills a child when the thread
that forked it ends. The public methods may be called from any thread; they block until done.
"""

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ops.child import Child, ChildSpec, ChildState, ChildStatus
from ops.files import private_folder, write_private
from ops.log_files import rotate
from pipeline.core.errors import ConfigError, TransientError

TICK_S = 0.1
PROBE_PAUSE_S = 0.05
FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0
LOOK_AT_LOGS_S = 10.0
# A child that lived this long begins again with the shortest back-off.
STEADY_S = 60.0
STATE_FILE = "children.json"

_T = TypeVar("_T")


class Supervisor:
    """Children of one data folder; ``children.json`` there tells other programs about them."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)
        # One left by a supervisor that was killed tells of processes that are gone.
        (folder / STATE_FILE).unlink(missing_ok=True)
        self._children: dict[str, Child] = {}
        self._due: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._back_off: dict[str, float] = {}
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)
        self._thread.start()

    def start(self, spec: ChildSpec, *, is_awaited: bool = True) -> None:
        """Run a child under a new name; by default wait until its probe says yes.

        Raises:
            ConfigError: the name is taken.
            TransientError: as ``await_ready``.
        """
        if spec.name in self._children:
            raise ConfigError(f"a child named {spec.name} exists already: use restart")

        def begin() -> None:
            self._children[spec.name] = Child(spec)
            self._begin(spec.name)

        self._call(begin)
        if is_awaited:
            self.await_ready(spec.name)

    def await_ready(self, name: str) -> None:
        """Wait until the child's probe says yes.

        Raises:
            TransientError: it ended or stayed silent for longer than its spec allows; names the log file.
        """
        child = self._child(name)
        spec = child.spec
        deadline = time.monotonic() + spec.ready_timeout_s
        while spec.probe is not None and not spec.probe():
            if child.state is not ChildState.RUNNING:
                raise TransientError(
                    f"{name} ended before it was ready: {child.last_words()} ({spec.log_file})"
                )
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{name} was not ready within {spec.ready_timeout_s:.0f} s: {child.last_words()} ({spec.log_file})"
                )
            time.sleep(PROBE_PAUSE_S)

    def kill(self, name: str) -> None:
        """SIGKILL one child and leave it dead until ``restart``."""
        child = self._child(name)
        self._call(lambda: self._end(name, child.kill))

    def stop(self, name: str) -> None:
        """End one child cleanly and leave it so until ``restart``."""
        self._call(lambda: self._end_together([self._child(name)]))

    def restart(
        self, name: str, *, is_awaited: bool = True, environment: Mapping[str, str] | None = None
    ) -> None:
        """End the child if it runs, and run it again; ``environment`` is added for this life alone.

        Raises:
            TransientError: as ``await_ready``.
        """

        def again() -> None:
            self._end_together([self._child(name)])
            self._begin(name, environment)

        self._call(again)
        if is_awaited:
            self.await_ready(name)

    def children(self) -> tuple[ChildStatus, ...]:
        """A snapshot of every child, in the order of their first start."""
        return self._call(lambda: tuple(child.status() for child in self._children.values()))

    def close(self) -> None:
        """End all children, higher stages first, and the supervisor itself. May be called twice."""
        if not self._thread.is_alive():
            return
        stages = sorted({child.spec.stage for child in self._children.values()}, reverse=True)
        for stage in stages:
            self._call(
                partial(self._end_together, [c for c in self._children.values() if c.spec.stage == stage])
            )
        self._jobs.put(None)
        self._thread.join()
        (self._folder / STATE_FILE).unlink(missing_ok=True)

    def _child(self, name: str) -> Child:
        try:
            return self._children[name]
        except KeyError:
            known = ", ".join(self._children) or "none"
            raise ConfigError(f"no child is named {name}; there are: {known}") from None

    def _call(self, job: Callable[[], _T]) -> _T:
        if not self._thread.is_alive():
            raise ConfigError("the supervisor was closed: make a new one")
        future: Future[_T] = Future()
        self._jobs.put((job, future))
        return future.result()

    def _loop(self) -> None:
        next_watch, next_look = 0.0, 0.0
        while True:
            # By the clock, since callers that ask often would keep the queue from ever being empty.
            if time.monotonic() >= next_watch:
                self._watch()
                next_watch = time.monotonic() + TICK_S
            if time.monotonic() >= next_look:
                for child in self._children.values():
                    rotate(child.spec.log_file)
                next_look = time.monotonic() + LOOK_AT_LOGS_S
            try:
                work = self._jobs.get(timeout=TICK_S)
            except queue.Empty:
                continue
            if work is None:
                return
            job, future = work
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

    def _watch(self) -> None:
        now = time.monotonic()
        for name, child in self._children.items():
            if child.has_ended():
                if child.spec.is_restarted:
                    self._plan_restart(name, now)
                self._tell()
            elif name in self._due and now >= self._due[name]:
                child.restarts += 1
                self._begin(name)

    def _plan_restart(self, name: str, now: float) -> None:
        pause = self._back_off.get(name, FIRST_BACK_OFF_S)
        if now - self._started[name] > STEADY_S:
            pause = FIRST_BACK_OFF_S
        self._due[name] = now + pause
        self._back_off[name] = min(2 * pause, LONGEST_BACK_OFF_S)

    def _begin(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        self._due.pop(name, None)
        self._children[name].start(environment)
        self._started[name] = time.monotonic()
        self._tell()

    def _end(self, name: str, how: Callable[[], None]) -> None:
        self._due.pop(name, None)
        how()
        self._tell()

    def _end_together(self, children: list[Child]) -> None:
        for child in children:
            self._due.pop(child.spec.name, None)
            child.ask_to_end()
        for child in children:
            child.await_end(child.spec.stop_timeout_s)
        self._tell()

    def _tell(self) -> None:
        told = [asdict(child.status()) for child in self._children.values()]
        write_private(self._folder / STATE_FILE, json.dumps(told, indent=1).encode())


def read_children(folder: Path) -> tuple[ChildStatus, ...]:
    """What the supervisor of ``folder`` last wrote; empty after an orderly end.

    After a crash the file stays: ask ``ops.lock.holder`` first whether somebody runs the folder.
    """
    try:
        told = json.loads((folder / STATE_FILE).read_text("utf-8"))
    except FileNotFoundError:
        return ()
    return tuple(ChildStatus(**(row | {"state": ChildState(row["state"])})) for row in told)
