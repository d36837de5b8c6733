"""Faults of the machine: no room on the disk, errors and death inside system calls, networks cut, clocks off.

A full disk is a limit of zero on the size of files (RLIMIT_FSIZE), system calls are reached by strace, clocks by a
small library that is compiled when it is first needed.
"""

import contextlib
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random
from typing import Final

from pipeline.apps.chaos.stand import Stand
from pipeline.core.errors import ConfigError, TransientError

Strike = Callable[[Stand, Random], AbstractContextManager[str]]
_NOTHING: Final = (0, resource.RLIM_INFINITY)
_UNLIMITED: Final = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_WRITES: Final = "pwrite64,fsync,fdatasync"
_TALKS: Final = "sendto,recvfrom,sendmsg,recvmsg"
_FIRST_WRITES: Final = 12
_DETACH_S: Final = 10.0
_ATTACH_S: Final = 0.3
_SHIFTS_S: Final = (-86_400, -3_600, 3_600, 86_400)
_SHIFT_SOURCE: Final = Path(__file__).with_name("clock_shift.c")
_SHIFT_VARIABLE: Final = "BKDMS_CHAOS_SHIFT_S"


def disk_full(kind: str) -> Strike:
    """Let a program of a kind write to no file, its log included."""

    @contextmanager
    def strike(stand: Stand, dice: Random) -> Iterator[str]:
        name = dice.choice(stand.names(kind))
        pid = stand.pid(name)
        _limit(pid, _NOTHING)
        yield name
        _limit(pid, _UNLIMITED)

    return strike


def _limit(pid: int | None, limits: tuple[int, int]) -> None:
    """Bound the size of files that a process may write; one that is gone needs no bound."""
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def disk_error(kind: str) -> Strike:
    """Let writes and syncs of a program fail with EIO until it heals."""
    return _injected(kind, lambda _: [f"inject={_WRITES}:error=EIO"], _WRITES)


def killed_writing(kind: str) -> Strike:
    """Kill a program at one of its next writes or syncs."""
    return _injected(
        kind, lambda dice: [f"inject={_WRITES}:signal=SIGKILL:when={dice.randint(1, _FIRST_WRITES)}"], _WRITES
    )


def network_cut(kind: str) -> Strike:
    """Let a program of a kind reach nobody."""
    return _injected(
        kind,
        lambda _: [f"inject={_TALKS}:error=ECONNRESET", "inject=connect:error=EHOSTUNREACH"],
        f"{_TALKS},connect",
    )


def wrong_clock(kind: str) -> Strike:
    """Restart a program with its clock an hour or a day off; heal it by another restart."""

    @contextmanager
    def strike(stand: Stand, dice: Random) -> Iterator[str]:
        name, shift_s = dice.choice(stand.names(kind)), dice.choice(_SHIFTS_S)
        library = _shift_library(stand.deployment.data_dir)
        stand.restart(name, {"LD_PRELOAD": str(library), _SHIFT_VARIABLE: str(shift_s)})
        yield f"{name} {shift_s:+d} s"
        stand.restart(name)

    return strike


def _injected(kind: str, expressions: Callable[[Random], list[str]], calls: str) -> Strike:
    @contextmanager
    def strike(stand: Stand, dice: Random) -> Iterator[str]:
        name = dice.choice(stand.names(kind))
        asked = [word for expression in expressions(dice) for word in ("-e", expression)]
        pid = stand.pid(name)
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={calls}", *asked]
        strace = subprocess.Popen(  # noqa: S603  our own arguments
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(_ATTACH_S)
        # It ends with 0 when what it watches has ended.
        if strace.poll():
            raise TransientError(f"strace can't attach to {name}; it needs the right to trace", code="chaos")
        try:
            yield f"{name} {' '.join(asked[1::2])}"
        finally:
            strace.send_signal(signal.SIGINT)
            try:
                strace.wait(_DETACH_S)
            except subprocess.TimeoutExpired:
                strace.kill()
                strace.wait()

    return strike


def _shift_library(folder: Path) -> Path:
    """Return the library that moves clocks, compiled once a run.

    Raises:
        ConfigError: it can't be compiled.
    """
    library = folder / "clock_shift.so"
    if not library.exists():
        done = subprocess.run(  # noqa: S603  our own arguments
            ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SHIFT_SOURCE), "-ldl"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ConfigError(f"cc cannot make {library}: {done.stderr.strip()[-200:]}")
    return library
