"""One child process of the supervisor: how it is described, started, watched and ended.

Owns no policy of restarting: that is the supervisor's.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import psutil

from ops.files import PRIVATE_FILE_MODE
from ops.launcher import HANDED_FOLDER

_LAUNCHER = Path(__file__).with_name("launcher.py")
LOG_TAIL_BYTES = 4096


class ChildState(StrEnum):
    """Where a child stands."""

    RUNNING = "running"
    CRASHED = "crashed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RunAs:
    """A system user to run a program as, and the folder that is handed to him whoever owns the folders above it."""

    user: str
    folder: Path

    # The number that ops/launcher.py opens it under.
    SEEN_AS: ClassVar[str] = f"/proc/self/fd/{HANDED_FOLDER}"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A program to run: name, arguments, log file, when it is ready, what to do when it ends.

    ``stage`` orders the end: higher stages stop first, children of one stage together. ``stop_signal`` asks for it.
    """

    name: str
    argv: tuple[str, ...]
    log_file: Path
    probe: Callable[[], bool] | None = None
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0
    is_restarted: bool = True
    stage: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    run_as: RunAs | None = None


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """What the supervisor knows of a child; ``cpu_seconds`` counts all its lives."""

    name: str
    state: ChildState
    pid: int | None
    exit_code: int | None
    restarts: int
    cpu_seconds: float
    log_file: str


def launched(argv: Sequence[str], run_as: RunAs | None = None) -> list[str]:
    """The arguments that run a program which the kernel ends with this process, as another user if so wanted."""
    user, folder = (run_as.user, str(run_as.folder)) if run_as is not None else ("", "")
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), user, folder, *argv]


class Child:
    """A child and its lives. Call from one thread only: the kernel ties the child to the thread that forks."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.state = ChildState.STOPPED
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._cpu_before = 0.0
        self._cpu_now = 0.0

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Fork and run; output is appended to the log file. ``environment`` is added for this life."""
        self.spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(self.spec.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE_MODE)
        try:
            self._process = subprocess.Popen(  # noqa: S603
                launched(self.spec.argv, self.spec.run_as),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own session: Ctrl-C in the terminal reaches the supervisor alone, which ends it in order.
                start_new_session=True,
                env={**os.environ, **self.spec.environment, **(environment or {})},
            )
        finally:
            os.close(log)
        self.state = ChildState.RUNNING

    def has_ended(self) -> bool:
        """Whether a child that was running is running no more; also takes a sample of its CPU time."""
        if self._process is None or self.state is not ChildState.RUNNING:
            return False
        if self._process.poll() is None:
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(self._process.pid).cpu_times()
                self._cpu_now = times.user + times.system
            return False
        self.close_life(ChildState.CRASHED)
        return True

    def close_life(self, state: ChildState) -> None:
        """Book a life as over."""
        self.state = state
        self._cpu_before += self._cpu_now
        self._cpu_now = 0.0

    def ask_to_end(self) -> None:
        """Send the signal by which this program ends in order."""
        if self._process is not None and not self.has_ended() and self.state is ChildState.RUNNING:
            self._process.send_signal(self.spec.stop_signal)

    def await_end(self, timeout_s: float) -> None:
        """Wait, then kill the child and what it has started."""
        if self._process is None or self.state is not ChildState.RUNNING:
            self.state = ChildState.STOPPED
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self.close_life(ChildState.STOPPED)

    def kill(self) -> None:
        """SIGKILL to the child and its process group, as a fault would."""
        if self._process is None or self.has_ended() or self.state is not ChildState.RUNNING:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.close_life(ChildState.STOPPED)

    def status(self) -> ChildStatus:
        """A snapshot."""
        process = self._process
        return ChildStatus(
            name=self.spec.name,
            state=self.state,
            pid=process.pid if process is not None and self.state is ChildState.RUNNING else None,
            exit_code=process.returncode if process is not None else None,
            restarts=self.restarts,
            cpu_seconds=round(self._cpu_before + self._cpu_now, 3),
            log_file=str(self.spec.log_file),
        )

    def last_words(self) -> str:
        """The last line of its log, for messages."""
        with contextlib.suppress(OSError), self.spec.log_file.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""
