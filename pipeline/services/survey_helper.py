"""What a helper process of an audit does: survey the blocks that it is sent, by the rights that it was told last."""

from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Final, NamedTuple

from pipeline.core.block import parse_certified
from pipeline.core.genesis import parse_genesis
from pipeline.core.leaves import block_of_leaves
from pipeline.core.state import ChainState, Tables
from pipeline.core.survey import Survey, survey
from pipeline.services.garbage import look_seldom

RIGHTS: Final = ("sites", "grants", "offers", "offices", "terms")
"""The tables of the state that say who is allowed what, by which terms."""

Work = bytes | tuple[bytes, ...]
"""An encoded certified block, or the leaves of a block that has no certificate of its own."""


class Rights(NamedTuple):
    """What has changed of the rights, or with ``is_all`` the whole of them."""

    tables: Tables
    is_all: bool


Order = tuple[int, Work | Rights]
"""A number and work, or the rights and the number of their version."""


class Answer(NamedTuple):
    """The survey of the work of this number, by the rights of this version."""

    number: int
    version: int
    found: Survey | None


def serve(link: Connection, genesis: bytes) -> None:
    """Answer orders until the other end is gone. The process ends then."""
    look_seldom()
    orders: SimpleQueue[Order | None] = SimpleQueue()
    # Orders are taken as they come, so that nobody waits for room in a full pipe while the other one does, too.
    Thread(target=_take_orders, args=(link, orders), daemon=True).start()
    state, version = ChainState(parse_genesis(genesis)), 0
    while (order := orders.get()) is not None:
        number, work = order
        if isinstance(work, Rights):
            version = number
            _learn(state.tables, work)
            state.refresh()
            continue
        try:
            link.send(Answer(number, version, survey_work(state, work)))
        except OSError:
            return


def survey_work(state: ChainState, work: Work) -> Survey | None:
    """Survey a block as handed in; None where it has to be judged in full. Total."""
    if isinstance(work, bytes):
        parsed = parse_certified(work)
        return None if parsed is None else survey(state, *parsed)
    block = block_of_leaves(work)
    return None if block is None else survey(state, block, None)


def _learn(tables: Tables, rights: Rights) -> None:
    for name in RIGHTS:
        rows = getattr(tables, name)
        if rights.is_all:
            rows.clear()
        rows.update(getattr(rights.tables, name))


def _take_orders(link: Connection, orders: SimpleQueue[Order | None]) -> None:
    try:
        while True:
            orders.put(link.recv())
    except (EOFError, OSError):
        orders.put(None)
