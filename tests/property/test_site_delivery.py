"""Whatever is killed, lost, repeated or late: the chain holds what the source gave, once and in order.

The judge is the real deriver. The spool is the real one, killed before or after any of its writes.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.adapters.spool import SqliteSpool
from pipeline.core.batching import Batching
from pipeline.core.errors import TransientError
from pipeline.ports import Outgoing
from pipeline.services.site_agent import Collecting
from pipeline.services.site_agent.collect import Collector
from pipeline.services.site_agent.confirm import Confirmer
from pipeline.services.site_agent.send import Sender
from tests.support.site_ledger import ListSource, ledger_with, parts_of, terms_of

_WRITES = ("INSERT", "UPDATE", "DELETE", "COMMIT")
_LAST_STEPS = 300


class KilledError(Exception):
    """The process is gone."""


class Fuse:
    """Kills at the n-th writing statement from now, before or after it took effect."""

    def __init__(self) -> None:
        self.writes_left: int | None = None
        self.after = False

    def burn(self, statement: str, *, after: bool) -> None:
        if self.writes_left is None or after != self.after or not statement.startswith(_WRITES):
            return
        self.writes_left -= 1
        if self.writes_left <= 0:
            self.writes_left = None
            raise KilledError


class FusedDatabase:
    """The spool's connection with a fuse at every writing statement; what is not committed is lost."""

    def __init__(self, database: Any, fuse: Fuse) -> None:
        self._database, self._fuse = database, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, statement: str, *values: Any) -> Any:
        self._fuse.burn(statement, after=False)
        result = self._database.execute(statement, *values)
        self._fuse.burn(statement, after=True)
        return result

    def executemany(self, statement: str, rows: Any) -> Any:
        self._fuse.burn(statement, after=False)
        result = self._database.executemany(statement, rows)
        self._fuse.burn(statement, after=True)
        return result


class Kafka(Enum):
    """What becomes of the next batch."""

    GOOD = "taken and acknowledged"
    REFUSED = "not taken, failure reported"
    UNACKNOWLEDGED = "taken, failure reported"
    PARTLY = "first half taken, failure reported"
    DOUBLED = "taken twice"
    SWALLOWED = "acknowledged and lost"
    LATE = "acknowledged, taken later"


class SiteDelivery(RuleBasedStateMachine):
    """One site, one ledger, every fault."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bkdms-spool-"))
        self.loop = asyncio.new_event_loop()
        self.ledger, self.site = ledger_with()
        self.source = ListSource()
        self.fuse = Fuse()
        self.kafka = Kafka.GOOD
        self.held: list[Outgoing] = []
        self.spool: SqliteSpool | None = None
        self.start()

    def start(self) -> None:
        if self.spool is not None:
            self.spool.close()
        self.spool = SqliteSpool(self.folder / "spool.sqlite", bytes(32), terms_of(self.site).binding)
        self.spool._database = FusedDatabase(self.spool._database, self.fuse)  # type: ignore[assignment]
        parts = parts_of(self.site, self.ledger, self.spool, self.source)
        object.__setattr__(parts, "producer", self)
        self.collector = Collector(parts, Collecting(batch_rows=4))
        self.sender = Sender(parts, Batching(max_records=3, linger_ms=0), window=3)
        self.confirmer = Confirmer(parts)
        self.parts = parts

    async def send(self, batch: Sequence[Outgoing]) -> None:
        kafka, self.kafka = self.kafka, Kafka.GOOD
        taken = {
            Kafka.REFUSED: [],
            Kafka.PARTLY: batch[: len(batch) // 2],
            Kafka.DOUBLED: [*batch, *batch],
            Kafka.SWALLOWED: [],
            Kafka.LATE: [],
        }.get(kafka, batch)
        for record in taken:
            self.ledger.take(record)
        if kafka is Kafka.LATE:
            self.held.extend(batch)
        if kafka in (Kafka.REFUSED, Kafka.UNACKNOWLEDGED, Kafka.PARTLY):
            raise TransientError("Kafka is away", code="kafka")

    async def close(self) -> None:
        """Part of the producer's protocol."""

    def attempt(self, action: Callable[[], Awaitable[object]]) -> None:
        """Do something; a passing fault is passed over, a kill restarts from the file."""

        async def run() -> object:
            return await action()

        try:
            self.loop.run_until_complete(run())
        except TransientError:
            pass
        except KilledError:
            self.start()

    @rule(rows=st.lists(st.booleans(), min_size=1, max_size=9))
    def measure(self, rows: list[bool]) -> None:
        for good in rows:
            self.source.numbers.append(len(self.source.numbers) if good else None)

    @rule()
    def collect(self) -> None:
        async def work() -> None:
            self.collector.step(final=False)

        self.attempt(work)

    @rule(kafka=st.sampled_from(Kafka))
    def next_batch(self, kafka: Kafka) -> None:
        self.kafka = kafka

    @rule()
    def seal_and_send(self) -> None:
        self.attempt(lambda: self.sender.step(drain=True))

    @rule()
    def resend(self) -> None:
        self.sender.rewind()

    @rule()
    def commit(self) -> None:
        self.ledger.close_block()

    @rule()
    def confirm(self) -> None:
        self.attempt(self.confirmer.step)

    @rule(back=st.integers(1, 3))
    def confirm_by_a_lagging_api(self, back: int) -> None:
        height = max(1, len(self.ledger.chain.blocks) - back)

        async def work() -> None:
            self.confirmer._apply(self.ledger.document(self.site.name, height))

        self.attempt(work)

    @rule(asks=st.booleans())
    def resign(self, asks: bool) -> None:
        async def work() -> None:
            if asks:
                await self.confirmer.step()
            self.parts.spool.supersede()
            self.sender.rewind()

        self.attempt(work)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def late_arrival(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.held)))
        for _ in range(count):
            self.ledger.take(self.held.pop(0))

    @rule()
    def kill(self) -> None:
        self.start()

    @rule(writes=st.integers(1, 8), after=st.booleans())
    def light_the_fuse(self, writes: int, after: bool) -> None:
        self.fuse.writes_left, self.fuse.after = writes, after

    @property
    def given(self) -> list[int]:
        return [number for number in self.source.numbers if number is not None]

    @invariant()
    def what_is_admitted_is_a_beginning_of_what_was_measured(self) -> None:
        assert self.ledger.admitted == self.given[: len(self.ledger.admitted)]

    @invariant()
    def nothing_uncommitted_is_forgotten(self) -> None:
        assert self.spool is not None
        confirmed = self.spool.totals().confirmed_records
        assert confirmed <= len(self.ledger.committed(self.site))

    def teardown(self) -> None:
        self.fuse.writes_left, self.kafka = None, Kafka.GOOD
        for _ in range(_LAST_STEPS):
            self.collect()
            self.seal_and_send()
            self.commit()
            self.confirm()
            assert self.spool is not None
            if not self.spool.depth().records and self.source.read(self.spool.position(), 1).rows == 0:
                break
            self.resend()
        assert self.ledger.committed(self.site) == self.ledger.admitted == self.given
        assert self.spool is not None
        self.spool.close()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)


TestSiteDelivery = SiteDelivery.TestCase
TestSiteDelivery.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
