"""Runs one of our programs unchanged, but for a watch over its named steps.

``python -m pipeline.apps.chaos.harness ORDERS PART NAME ARGUMENT…`` runs ``bkdms ARGUMENT…``. While no order waits
in the folder ORDERS, every step is what it always is.
"""

import errno
import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.apps.chaos.orders import Order, Orders
from pipeline.apps.chaos.steps import STEPS, How, Moment, Part, Step
from pipeline.core.errors import TransientError
from pipeline.core.topics import Topics

Call = Callable[..., Any]


class Watch:
    """Steps in where an order says so. The order is taken before it is done, so that a next life is spared."""

    def __init__(self, orders: Orders, part: Part, name: str) -> None:
        self._orders, self._part, self._name = orders, part, name

    def over(self, step: Step, call: Call) -> Call:
        """Return a call that does the same as ``call`` and minds orders for ``step``."""
        if inspect.iscoroutinefunction(call):

            @functools.wraps(call)
            async def waiting(*arguments: Any, **named: Any) -> Any:
                order = self._order(step, arguments)
                self._mind(step, order, Moment.BEFORE)
                result = await call(*arguments, **named)
                self._mind(step, order, Moment.AFTER)
                return result

            return waiting

        @functools.wraps(call)
        def plain(*arguments: Any, **named: Any) -> Any:
            order = self._order(step, arguments)
            self._mind(step, order, Moment.BEFORE)
            result = call(*arguments, **named)
            self._mind(step, order, Moment.AFTER)
            return result

        return plain

    def _order(self, step: Step, arguments: tuple[Any, ...]) -> Order | None:
        if step.topic and not _is_sent_to(getattr(Topics(), step.topic), arguments):
            return None
        order = self._orders.waiting(self._part)
        return order if order is not None and order.step == step.name else None

    def _mind(self, step: Step, order: Order | None, moment: Moment) -> None:
        if order is None or order.moment is not moment or not self._orders.take(self._part, self._name):
            return
        if order.how is How.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif order.how is How.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif step.is_disk:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        else:
            raise TransientError(f"{step.name} failed as ordered", code="chaos")


def watch_steps(watch: Watch, part: Part) -> None:
    """Put the watch over every step of a kind of program."""
    for step in STEPS:
        if step.part is part:
            owner = getattr(import_module(step.module), step.owner)
            setattr(owner, step.method, watch.over(step, getattr(owner, step.method)))


def _is_sent_to(topic: str, arguments: tuple[Any, ...]) -> bool:
    _, batch, *_ = arguments
    return any(message.topic == topic for message in batch)


def main() -> None:
    """Run the program under watch; it never returns."""
    orders, part, name, *arguments = sys.argv[1:]
    watch_steps(Watch(Orders(Path(orders)), Part(part), name), Part(part))
    sys.argv = ["bkdms", *arguments]
    import_module("pipeline.apps.cli").main()


if __name__ == "__main__":
    main()
