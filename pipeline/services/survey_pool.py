"""Surveys of blocks on all cores, by helper processes, since parsing and judging hold the interpreter's lock.

A helper knows the rights of all sites as the chain had them when it was last told; a survey made by older rights of
a site in the block is made again before anybody sees it. Memory is bounded by what is handed in and not yet taken.
"""

import signal
from collections.abc import Hashable
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from pipeline.core.errors import TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.state import Changes, Tables
from pipeline.core.survey import Survey
from pipeline.services.survey_helper import RIGHTS, Answer, Order, Rights, Work, serve

JOBS_PER_HELPER: Final = 3
"""One under way, one waiting so that no helper idles, one more for blocks of unequal size."""
_END_S: Final = 5.0


@dataclass(slots=True)
class _Job:
    work: Work
    found: Survey | None = None
    version: int = -1

    @property
    def is_done(self) -> bool:
        return self.version >= 0


class SurveyPool:
    """Helper processes that survey blocks, for one audit at a time and one thread at a time. ``close`` ends them."""

    def __init__(self, genesis: Genesis, helpers: int) -> None:
        context = get_context("forkserver")
        self._links: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._waiting: list[dict[int, int]] = [{} for _ in range(helpers)]
        self._jobs: dict[int, _Job] = {}
        self._next = 0
        self._version = 0
        self._changed: dict[Hashable, int] = {}
        self._authorities = 0
        context.set_forkserver_preload([serve.__module__])  # imported once, not by each helper
        # What is blocked here stays so in the helpers: an interrupt is for whoever runs the audit. The standard
        # library's tracker, which is started with the first of them, would unblock it.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(helpers):
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(theirs, genesis.raw), daemon=True)
                process.start()
                theirs.close()
                self._links.append(ours)
                self._processes.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def begin(self, tables: Tables) -> None:
        """Begin with the chain that has these rights, and forget what was handed in before.

        Raises:
            TransientError: a helper has ended (code ``audit_helper``).
        """
        self._jobs.clear()
        self._tell(tables, is_all=True)
        self._changed.clear()

    @property
    def processes(self) -> list[int]:
        """The process ids of the helpers."""
        return [process.pid for process in self._processes if process.pid is not None]

    @property
    def room(self) -> int:
        """How many more blocks may be handed in, so that all cores have work and no more is held than that."""
        return JOBS_PER_HELPER * len(self._links) - len(self._jobs)

    def submit(self, work: Work) -> int:
        """Hand in a block; return the number to ask for its survey by.

        Raises:
            TransientError: a helper has ended (code ``audit_helper``).
        """
        self._next += 1
        self._jobs[self._next] = self._give(self._next, work)
        return self._next

    def take(self, number: int) -> Survey | None:
        """Wait for the survey of a block, by the rights told up to now; None where it has to be judged in full.

        Raises:
            TransientError: a helper has ended (code ``audit_helper``).
        """
        while not self._jobs[number].is_done:
            self._receive()
        return self._jobs.pop(number).found

    def learn(self, changes: Changes) -> None:
        """Tell all helpers what the next block of the chain changed, so that later blocks are surveyed by it.

        Raises:
            TransientError: a helper has ended (code ``audit_helper``).
        """
        tables = changes.tables
        if not any(getattr(tables, name) for name in RIGHTS):
            return
        self._tell(tables, is_all=False)
        for name in RIGHTS:
            self._changed.update(dict.fromkeys(getattr(tables, name), self._version))
        if tables.offices or tables.terms:
            self._authorities = self._version
        for number, job in list(self._jobs.items()):
            if job.is_done and self._is_stale(job.found, job.version):
                self._jobs[number] = self._give(number, job.work)

    def close(self) -> None:
        """End the helpers."""
        for link in self._links:
            link.close()
        for process in self._processes:
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()

    def _tell(self, tables: Tables, *, is_all: bool) -> None:
        self._version += 1
        rights = Rights(Tables(**{name: getattr(tables, name) for name in RIGHTS}), is_all)
        for helper in range(len(self._links)):
            self._send(helper, (self._version, rights))

    def _give(self, number: int, work: Work) -> _Job:
        helper = min(range(len(self._waiting)), key=lambda each: sum(self._waiting[each].values()))
        self._waiting[helper][number] = _size(work)
        self._send(helper, (number, work))
        return _Job(work)

    def _send(self, helper: int, order: Order) -> None:
        try:
            self._links[helper].send(order)
        except OSError as error:
            raise _ended() from error

    def _receive(self) -> None:
        """Take every answer that is there, waiting for one."""
        for link in wait(self._links):
            assert isinstance(link, Connection)  # noqa: S101  the only kind that is waited for
            try:
                answer: Answer = link.recv()
            except (EOFError, OSError) as error:
                raise _ended() from error
            del self._waiting[self._links.index(link)][answer.number]
            job = self._jobs.get(answer.number)
            if job is None:  # of an audit before this one
                continue
            if self._is_stale(answer.found, answer.version):
                self._jobs[answer.number] = self._give(answer.number, job.work)
            else:
                job.found, job.version = answer.found, answer.version

    def _is_stale(self, found: Survey | None, version: int) -> bool:
        """Say whether a survey by the rights of a version says nothing about the chain as it is now."""
        if version == self._version:
            return False
        if found is None or version < self._authorities:
            return True
        return any(self._changed.get(site, 0) > version for site in found.sites)


def _size(work: Work) -> int:
    return len(work) if isinstance(work, bytes) else sum(map(len, work))


def _ended() -> TransientError:
    return TransientError("a helper process of the audit has ended; run it again", code="audit_helper")
