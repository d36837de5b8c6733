"""Faults of processes: killed, stopped, leaving, slow, at random and at named steps."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Final

from pipeline.apps.chaos.load import BURST
from pipeline.apps.chaos.orders import Order
from pipeline.apps.chaos.stand import Stand, until
from pipeline.apps.chaos.steps import How, Moment, Step
from pipeline.apps.local.deployment import PLATFORM_NAME
from pipeline.core.errors import TransientError

Strike = Callable[[Stand, Random], AbstractContextManager[str]]
_STEP_S: Final = 40.0
_SLOW_TURNS: Final = 10
_SLOW_S: Final = (0.05, 0.45)


def kill(kind: str, count: int = 1) -> Strike:
    """SIGKILL ``count`` programs of a kind; they lie until it heals."""

    @contextmanager
    def strike(stand: Stand, dice: Random) -> Iterator[str]:
        struck = dice.sample(stand.names(kind), count)
        for name in struck:
            stand.kill(name)
        yield ", ".join(struck)
        for name in struck:
            stand.restart(name)

    return strike


def stop(kind: str, count: int = 1) -> Strike:
    """Let ``count`` programs of a kind stand still until it heals."""

    @contextmanager
    def strike(stand: Stand, dice: Random) -> Iterator[str]:
        struck = dice.sample(stand.names(kind), count)
        for name in struck:
            stand.signal(name, signal.SIGSTOP)
        yield ", ".join(struck)
        for name in struck:
            stand.signal(name, signal.SIGCONT)

    return strike


@contextmanager
def kill_ours(stand: Stand, _: Random) -> Iterator[str]:
    """SIGKILL all our programs at once."""
    struck = stand.all_programs()
    for name in struck:
        stand.kill(name)
    yield "all"
    for name in struck:
        stand.restart(name)


@contextmanager
def leave(stand: Stand, dice: Random) -> Iterator[str]:
    """Let a validator leave its group and join it again: its partitions move there and back."""
    name = dice.choice(stand.names("validator"))
    stand.end(name)
    yield name
    stand.restart(name)


@contextmanager
def slow(stand: Stand, _: Random) -> Iterator[str]:
    """Let the platform run for a tenth of the time."""
    running_s, standing_s = _SLOW_S
    for _turn in range(_SLOW_TURNS):
        stand.signal(PLATFORM_NAME, signal.SIGSTOP)
        time.sleep(standing_s)
        stand.signal(PLATFORM_NAME, signal.SIGCONT)
        time.sleep(running_s)
    yield PLATFORM_NAME


@contextmanager
def burst(stand: Stand, _: Random) -> Iterator[str]:
    """Tell the sites many rows at once."""
    stand.load.factor = BURST
    yield f"{BURST} times"
    stand.load.factor = 1


def at_step(step: Step) -> Strike:
    """Kill, stop or fail the next program that comes to a step, before or after it.

    Raises:
        TransientError: on entering; no program came to the step, so nothing was tried.
    """

    @contextmanager
    def strike(stand: Stand, dice: Random) -> Iterator[str]:
        order = Order(step.name, dice.choice(list(Moment)), dice.choice(list(How)))
        orders = stand.deployment.orders
        orders.give(step.part, order)
        try:
            until(f"a {step.part.value} comes to {step.name}", lambda: orders.taken_by() is not None, _STEP_S)
        finally:
            orders.withdraw(step.part)
        name = orders.taken_by()
        if name is None:
            raise TransientError(f"nobody took the order for {step.name}", code="chaos")
        yield f"{name} {order.how.value} {order.moment.value} {step.name}"
        if order.how is How.STOP:
            stand.signal(name, signal.SIGCONT)

    return strike
