"""Faults at the n-th write of a process: it persists or not, and the process hears of it, or dies.

``Process`` stands for one program run; whatever it writes to goes through ``Process.write``. Once it died, nothing
it still calls has any effect.
"""

import sqlite3
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy import Engine, event

from pipeline.core.errors import TransientError
from tests.support.sql_faults import CrashError

_T = TypeVar("_T")
_READS = ("SELECT", "BEGIN", "PRAGMA")


class WriteFault(Enum):
    """What becomes of a write and of the process that makes it."""

    LOST = "does not persist, the process hears of it"
    DONE = "persists, and the process hears that it failed"
    CRASH_BEFORE = "does not persist, the process dies"
    CRASH_AFTER = "persists, the process dies"


class Process:
    """One run of a program: alive until it crashes, and connected or not."""

    def __init__(self) -> None:
        self.is_dead = False
        self.is_cut_off = False
        self.writes = 0
        self._fault: WriteFault | None = None
        self._left = 0

    @property
    def is_lit(self) -> bool:
        """Whether a write that is to fail was not made yet."""
        return self._fault is not None

    def light(self, writes: int, fault: WriteFault) -> None:
        """Make the ``writes``-th write from now, counted from 1, fail."""
        self._left, self._fault = writes, fault

    def put_out(self) -> None:
        """Let all writes succeed again."""
        self._fault, self.is_cut_off = None, False

    def check(self, *, remote: bool = True) -> None:
        """Refuse what a dead process asks for, and what one that is cut off asks of others."""
        if self.is_dead:
            raise CrashError
        if remote and self.is_cut_off:
            raise TransientError("the network is away", code="kafka")

    def write(self, act: Callable[[], _T], refusal: Callable[[], Exception] | None = None) -> _T:
        """Make a write, or let it fail as lit; ``refusal`` makes the error that the process hears."""
        self.writes += 1
        fault = self._burn()
        if fault is WriteFault.CRASH_BEFORE:
            self._die()
        refused = refusal() if refusal else TransientError("the write may be lost", code="fault")
        if fault is WriteFault.LOST:
            raise refused
        result = act()
        if fault is WriteFault.CRASH_AFTER:
            self._die()
        if fault is WriteFault.DONE:
            raise refused
        return result

    def _burn(self) -> WriteFault | None:
        if self._fault is None:
            return None
        self._left -= 1
        if self._left > 0:
            return None
        fault, self._fault = self._fault, None
        return fault

    def _die(self) -> None:
        self.is_dead = True
        raise CrashError


def fuse_database(engine: Engine, process: Process) -> None:
    """Let every commit of a transaction that wrote be a write of the process."""
    commit, wrote = engine.dialect.do_commit, False

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal wrote
        process.check(remote=False)
        wrote = wrote or not statement.lstrip().upper().startswith(_READS)

    @event.listens_for(engine, "rollback")
    def _forget(_connection: Any) -> None:
        nonlocal wrote
        wrote = False

    def do_commit(connection: Any) -> None:
        nonlocal wrote
        if not wrote:
            commit(connection)
            return
        wrote = False
        process.write(lambda: commit(connection), lambda: sqlite3.OperationalError("disk I/O error"))

    engine.dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]
