"""Assessment worker: assesses what the platform stored, and sends what changes (Y.4907 8.3).

Owns the order: find the cells that new blocks touch, assess each from the store's rows alone, replace its rows and
note them as unsent together with the position, send, mark. So nothing depends on how often or in which order a
message is heard: the observations topic only says that the store has grown. A crash between any two steps repeats
work; consumers of the assessments topic keep the last message of a key.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from pipeline.core.assess.assess import assess_cell
from pipeline.core.assess.cells import touched_at
from pipeline.core.assess.changes import Found, Position, Replaced
from pipeline.core.assess.model import Cell
from pipeline.core.assess.plan import Plan
from pipeline.core.errors import BkdmsError
from pipeline.ports import Producer
from pipeline.services.assess.messages import announced_height, outgoing
from pipeline.services.assess.reading import Tally
from pipeline.services.assess.store import AssessStore
from pipeline.services.follower import in_thread
from pipeline.telemetry import assess_metrics as metrics
from pipeline.telemetry.logs import logger
from pipeline.telemetry.metrics import show_zeros

SEND_AT_ONCE: Final = 500
_TURN_S: Final = 1.0  # of cells that go into one transaction
_TURN_VALUES: Final = 200_000
_NAP_S: Final = 1.0
_PATIENCE_S: Final = 60.0
_OUTCOMES: Final = ("new", "repeated", "bad", "overdue")
_CHANGES: Final = ("new", "changed", "unchanged", "gone")
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class AssessParts:
    """What an assessment worker is made of. ``assessments`` is the topic's name, ``chain_id`` the chain's URL.

    ``rest_s`` is the least time between two rounds, ``poll_s`` how often the store is looked at without a message.
    """

    chain_id: str
    plan: Plan
    store: AssessStore
    producer: Producer
    assessments: str
    rest_s: float
    poll_s: float


@dataclass(slots=True)
class _Round:
    """Cells to be assessed until ``target`` is reached; False beside a cell: the plan knows it no more."""

    target: Position
    cells: deque[tuple[Cell, bool]]
    began_s: float


class AssessWorker:
    """Keeps the assessments up to date. Opened, stepped and closed by its runtime, which repeats what failed.

    A second worker on the same store waits: it finds the position moved and goes on from there.
    """

    def __init__(self, parts: AssessParts) -> None:
        self._parts = parts
        self._stored: Position | None = None
        self._round: _Round | None = None
        self._is_unsent = True
        self._found_nothing = False
        self._rested_s = 0.0
        self._looked_s = -parts.poll_s
        self._heard = asyncio.Event()
        self._advanced = asyncio.Condition()
        show_zeros(metrics.EVENTS, [(outcome,) for outcome in _OUTCOMES])
        show_zeros(metrics.FIGURES, [(change,) for change in _CHANGES])

    @property
    def is_ready(self) -> bool:
        """Whether the stored position was loaded and is being advanced."""
        return self._stored is not None

    @property
    def caught_up(self) -> bool:
        """Whether the last look at the store found nothing to assess, and everything is sent."""
        return self._stored is not None and self._found_nothing and not self._is_unsent

    async def open(self) -> None:
        """Load the stored position; repeated after another worker moved it."""
        stored = await in_thread(self._parts.store.load)
        self._round, self._is_unsent, self._found_nothing = None, True, False
        await self._reach(stored)

    async def step(self) -> int:
        """Do the next piece: look at the store, assess some cells, or rest; return how many cells were assessed.

        Raises:
            ConflictError: another worker moved the position; call again.
            TransientError: Kafka or the database are away; call again.
        """
        try:
            if self._stored is None:
                await self.open()
            if self._is_unsent:
                await self._send()
            if self._round is None and not await self._look():
                return 0
            return await self._assess_some()
        except BkdmsError:
            self._stored = None  # what is in memory may differ from what is stored
            raise

    async def hear(self, value: bytes | None) -> None:
        """Hear a message of the observations topic; return when what it tells of is assessed.

        Bad messages are counted and logged by their reason: what they may be about is in the store.
        """
        height = None if value is None else announced_height(value, self._parts.chain_id)
        if height is None:
            metrics.EVENTS.labels("bad").inc()
            _log.warning("bad_observations_message", bytes=len(value or b""))
            return
        if self._assessed >= height:
            metrics.EVENTS.labels("repeated").inc()
            return
        self._heard.set()
        try:
            async with asyncio.timeout(_PATIENCE_S), self._advanced:
                await self._advanced.wait_for(lambda: self._assessed >= height)
            metrics.EVENTS.labels("new").inc()
        except TimeoutError:
            # Nothing is lost: the position in the store says what is assessed, not the topic's.
            metrics.EVENTS.labels("overdue").inc()

    async def close(self) -> None:
        """Leave Kafka and close the database; no step is under way."""
        await self._parts.producer.close()
        await in_thread(self._parts.store.close)

    @property
    def _assessed(self) -> int:
        return -1 if self._stored is None else self._stored.height

    async def _reach(self, position: Position) -> None:
        self._stored = position
        metrics.HEIGHT.set(position.height)
        async with self._advanced:
            self._advanced.notify_all()

    async def _look(self) -> bool:
        """Plan a round if the store has grown; else nap. Return whether there is something to do."""
        now_s = time.monotonic()
        is_due = self._heard.is_set() or now_s - self._looked_s >= self._parts.poll_s
        if now_s < self._rested_s or not is_due:
            await self._nap(now_s)
            return False
        self._heard.clear()
        self._looked_s = now_s
        assert self._stored is not None  # noqa: S101  opened first
        stored = self._stored
        self._round = await in_thread(lambda: self._planned(stored))
        self._found_nothing = self._round is None
        metrics.PENDING.set(len(self._round.cells) if self._round else 0)
        return self._round is not None

    async def _nap(self, now_s: float) -> None:
        """Wait a moment, shorter if a message is heard and the rest after the last round is over."""
        left_s = self._rested_s - now_s
        if left_s > 0:
            await asyncio.sleep(min(left_s, _NAP_S))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_NAP_S):
                await self._heard.wait()

    def _planned(self, stored: Position) -> _Round | None:
        """Return what is to be assessed to bring the store's assessments up to its head, or None."""
        parts = self._parts
        target = Position(parts.store.head(), parts.plan.digest)
        metrics.LAG.set(max(0, target.height - stored.height))
        if target == stored:
            return None
        # Another plan, or a store that was brought back from before: everything is assessed again.
        is_anew = stored.plan != target.plan or stored.height > target.height
        after = 0 if is_anew else stored.height
        touched = {
            cell
            for country, city, time_ms in parts.store.times(after, target.height)
            for cell in touched_at(parts.plan, country, city, time_ms)
        }
        known = parts.store.cells() if is_anew else set()
        cells = deque((cell, cell in touched) for cell in sorted(touched | known))
        return _Round(target, cells, time.monotonic())

    async def _assess_some(self) -> int:
        """Assess the next cells of the round and store them; at its end move the position."""
        assert self._round is not None and self._stored is not None  # noqa: S101  looked first
        planned, stored = self._round, self._stored
        found = await in_thread(lambda: self._assessed_cells(planned))
        is_last = len(found) == len(planned.cells)
        after = planned.target if is_last else stored
        _count(await in_thread(lambda: self._parts.store.replace(found, stored, after)))
        for _ in found:
            planned.cells.popleft()
        metrics.PENDING.set(len(planned.cells))
        self._is_unsent = bool(found)
        await self._send()
        if is_last:
            # As long a rest as the round took: under load more changes go into one round.
            now_s = time.monotonic()
            self._rested_s = now_s + max(self._parts.rest_s, now_s - planned.began_s)
            self._round = None
            metrics.LAG.set(0)  # until the next look
            await self._reach(after)
        return len(found)

    def _assessed_cells(self, planned: _Round) -> list[Found]:
        """Assess cells in order until a turn is over; at least one of those that are left."""
        began_s, values = time.monotonic(), 0
        found: list[Found] = []
        for cell, is_planned in planned.cells:
            if found and (time.monotonic() - began_s > _TURN_S or values > _TURN_VALUES):
                break
            if not is_planned:
                found.append(Found(cell, ()))
                continue
            tally = Tally()
            with metrics.CELL_SECONDS.time():
                groups = tally.counted(self._parts.store.groups(cell))
                found.append(Found(cell, assess_cell(self._parts.plan, self._parts.chain_id, cell, groups)))
            values += tally.values
        metrics.CELLS.inc(len(found))
        metrics.VALUES.inc(values)
        return found

    async def _send(self) -> None:
        """Send what is noted as unsent and mark it; a crash before the mark repeats messages."""
        store, topic = self._parts.store, self._parts.assessments
        while self._is_unsent:
            batch = await in_thread(lambda: store.unsent(SEND_AT_ONCE))
            if batch:
                await self._parts.producer.send([outgoing(topic, item) for item in batch])
                await in_thread(partial(store.mark_sent, batch))
                metrics.SENT.inc(len(batch))
            self._is_unsent = len(batch) == SEND_AT_ONCE


def _count(replaced: Replaced) -> None:
    for change in _CHANGES:
        metrics.FIGURES.labels(change).inc(getattr(replaced, change))
