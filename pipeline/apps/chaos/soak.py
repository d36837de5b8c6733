"""A soak: an even load for long, while every program of ours is restarted in turn, again and again."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from pipeline.apps.chaos.campaign import judged, recovered, standing, unplanned_restarts
from pipeline.apps.chaos.judging import Judge
from pipeline.apps.chaos.load import Load
from pipeline.apps.chaos.sampling import look
from pipeline.apps.chaos.series import Sample
from pipeline.apps.chaos.stand import Stand, until
from pipeline.core.errors import BkdmsError, TransientError

_BURST_ROWS: Final = 1_000
_BURST_S: Final = 300.0
_TICK_S: Final = 0.25
_LOOK_S: Final = 0.05
_READY_S: Final = 240.0


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """How long, with how many values a second in all, how long between two restarts, and between two looks."""

    seconds: float
    rate: float
    pause_s: float
    every_s: float


@dataclass(frozen=True, slots=True)
class Restart:
    """A program was asked to end at ``at_s`` and was ready again ``seconds`` later; ``problem`` if it was not."""

    at_s: float
    part: str
    seconds: float
    problem: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The judgement at the end: seconds until all was stored and verified, and every problem by a sentence."""

    recovery_s: float | None
    values: int
    height: int
    problems: tuple[str, ...]


Seen = Sample | Restart
Tell = Callable[[Seen], None]


def burst_rate(stand: Stand) -> float:
    """Return how many values a second the stack stored of a burst, from the first row told to the last stored."""
    began, before = time.monotonic(), stand.load.told
    for site in stand.load.sites:
        site.tell(_BURST_ROWS)
    until("a burst is stored", lambda: stand.stored() >= stand.load.told, _BURST_S)
    return (stand.load.told - before) / (time.monotonic() - began)


@contextmanager
def even_load(load: Load, rate: float) -> Iterator[None]:
    """Tell the sites ``rate`` rows a second together, by a schedule; at the end the files are whole."""
    is_over = threading.Event()

    def tell() -> None:
        began, share, first = time.monotonic(), rate / len(load.sites), [site.told for site in load.sites]
        while not is_over.wait(_TICK_S):
            due = int(share * (time.monotonic() - began))
            for site, start in zip(load.sites, first, strict=True):
                if start + due > site.told:
                    site.tell(start + due - site.told)

    thread = threading.Thread(target=tell, name="even-load", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def soak(stand: Stand, plan: SoakPlan, tell: Tell) -> None:
    """Load, restart and look until the time is over; ``tell`` hears every sample and restart as it comes."""
    turns = cycle(stand.programs())
    began = time.monotonic()
    next_look, next_restart = began, began + plan.pause_s
    restart: Future[Restart] | None = None
    with ThreadPoolExecutor(1) as pool, even_load(stand.load, plan.rate):
        while restart is not None or time.monotonic() < began + plan.seconds:
            now = time.monotonic()
            if restart is not None and restart.done():
                tell(restart.result())
                restart, next_restart = None, time.monotonic() + plan.pause_s
            elif restart is None and now >= next_restart and now < began + plan.seconds:
                restart = pool.submit(_restart, stand, next(turns), began)
            if now >= next_look:
                for sample in look(stand, began):
                    tell(sample)
                next_look = max(next_look + plan.every_s, time.monotonic())
            time.sleep(_LOOK_S)


def _restart(stand: Stand, name: str, began: float) -> Restart:
    """End a program by SIGTERM, run it again, and wait until it is ready."""
    start = time.monotonic()
    problem = ""
    try:
        stand.restart(name)
        _await_ready(stand, name, start + _READY_S)
    except BkdmsError as error:
        problem = str(error)
    return Restart(round(start - began, 1), name, round(time.monotonic() - start, 2), problem)


def _await_ready(stand: Stand, name: str, deadline: float) -> None:
    """Wait until a program is ready; on a busy machine that takes longer than its supervisor would wait."""
    while True:
        try:
            return stand.deployment.stack.supervisor.await_ready(name)
        except TransientError:
            if time.monotonic() > deadline:
                raise


def end(stand: Stand) -> Ending:
    """Wait until everything that was told is stored and verified, then judge ledger, store and log in full."""
    recovery_s = recovered(stand, time.monotonic())
    problems = [] if recovery_s is not None else [f"not everything arrived: {standing(stand)}"]
    verdict = judged(Judge(stand), is_full=True)
    counts = {"lost": verdict.lost, "doubled": verdict.doubled, "altered": verdict.altered}
    problems += [f"{count} values {name}" for name, count in counts.items() if count]
    problems += verdict.problems
    crashed = unplanned_restarts(stand)
    if crashed:
        problems.append(f"programs ended by themselves {crashed} times")
    return Ending(recovery_s, verdict.values, verdict.height, tuple(problems))
