"""An assessment worker over any database, whose rows a platform worker made of a small chain."""

import sqlite3
from copy import copy
from pathlib import Path

from sqlalchemy import Engine

from pipeline.adapters.sql.assess_store import SqlAssessStore
from pipeline.adapters.sql.assessment_tables import ASSESSMENTS
from pipeline.adapters.sql.engine import open_sqlite
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.core.assess.assess import assess_rows
from pipeline.core.assess.message import key_bytes, parse_assessment
from pipeline.core.assess.model import Assessment, Cell
from pipeline.core.assess.plan import Plan
from pipeline.core.assess.plan_reader import read_plan
from pipeline.core.assess.query import Wanted
from pipeline.core.names import site_id_text
from pipeline.core.sealing import SealingKey
from pipeline.ports import Producer
from pipeline.services.assess.once import assess_once
from pipeline.services.assess.worker import AssessParts, AssessWorker
from pipeline.services.platform import PlatformParts, PlatformWorker
from tests.support.chain import Chain, MemoryProducer, MemoryReader, MemoryTopic
from tests.support.sql_faults import all_rows
from tests.support.world import NOW_MS, TestSite, World

TOPIC = "kpi.assessments.v1"
PLAN = """
[[cities]]
country = "US"
city = "unlocode:USMES"
windows = ["hour", "day"]
[[cities.series]]
indicator = "LOCAL:TRAFFIC_SPEED"
interval = "30m"
lateness = "1d"
high = "100"
values = ["mean"]
"""
"""``plan_of()`` as a file has it."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class FixedClock:
    """Always the same time."""

    def now_ms(self) -> int:
        return NOW_MS


def plan_of(windows: tuple[str, ...] = ("hour", "day"), high: str = "100") -> Plan:
    """Values of test sites are expected every 30 minutes and to be at most ``high``; their mean is a figure."""
    series = {
        "indicator": "LOCAL:TRAFFIC_SPEED",
        "interval": "30m",
        "lateness": "1d",
        "high": high,
        "values": ["mean"],
    }
    city = {"country": "US", "city": "unlocode:USMES", "windows": list(windows), "series": [series]}
    return read_plan({"cities": [city]})


class Assessing:
    """Two sites, a store that ``grow`` extends, and the assessments that workers make of it."""

    def __init__(self, engine: Engine, plan: Plan | None = None, topic: str | None = None) -> None:
        self.engine = engine
        self.plan = plan or plan_of()
        self.chain = Chain(World(topic=topic) if topic else None)
        self.sites: list[TestSite] = [self.chain.world.site(i) for i in (1, 2)]
        keys: dict[bytes, SealingKey] = {
            site.platform_key.public.fingerprint: site.platform_key for site in self.sites
        }
        self.chain.enrol(*self.sites)
        self.topic = MemoryTopic()
        self.events = MemoryProducer()
        genesis = self.chain.world.genesis
        self._platform = PlatformWorker(
            PlatformParts(
                genesis,
                MemoryReader(self.topic),
                SqlPlatformStore(engine, genesis),
                self.events,
                "kpi.observations.v1",
                keys.get,
                FixedClock(),
            )
        )
        self._opened = False
        self.sent = MemoryProducer()

    async def grow(self, *hours: int, values: tuple[int, ...] = (4000, 6000)) -> None:
        """Store one block per hour counted from a fixed day, with a packet of each site."""
        for hour in hours:
            time_ms = NOW_MS - 2 * DAY_MS + hour * HOUR_MS
            self.chain.packets(*(site.packet(list(values), time_ms=time_ms) for site in self.sites))
        self.topic.publish(self.chain.certified[len(self.topic.values) :])
        if not self._opened:
            await self._platform.open()
            self._opened = True
        while await self._platform.step(0):
            pass

    def copied(self, path: Path) -> "Assessing":
        """The same chain over a copy of the SQLite store in another file, with nothing sent."""
        with sqlite3.connect(str(self.engine.url.database)) as source, sqlite3.connect(path) as target:
            source.backup(target)
        other = copy(self)
        other.engine, other.sent = open_sqlite(path, durable=False), MemoryProducer()
        return other

    def worker(self, producer: Producer | None = None, plan: Plan | None = None) -> AssessWorker:
        """A worker as after a restart."""
        url = self.chain.world.genesis.url
        parts = AssessParts(
            url,
            plan or self.plan,
            SqlAssessStore(lambda: self.engine),
            producer or self.sent,
            TOPIC,
            0.0,
            0.0,
        )
        return AssessWorker(parts)

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """All rows of what the worker writes."""
        return all_rows(self.engine, ASSESSMENTS)

    def position(self) -> tuple[int, bytes]:
        """The stored position."""
        return SqlAssessStore(lambda: self.engine).load()

    def expected(self) -> dict[bytes, Assessment]:
        """What the core finds in all rows of the store at once, by key."""
        store = SqlAssessStore(lambda: self.engine)
        url = self.chain.world.genesis.url
        found = list(assess_once(store, self.plan, url, Wanted()))
        rows = {row for item in found for group in store.groups(cell_of(item)) for row in group}
        assert found
        assert {item.key for item in assess_rows(self.plan, url, rows)} == {item.key for item in found}
        return {key_bytes(item.key): item for item in assess_rows(self.plan, url, rows)}

    def heard(self) -> dict[bytes, Assessment]:
        """What a consumer of the assessments topic knows: the last message of each key."""
        known: dict[bytes, Assessment] = {}
        for item in self.sent.sent:
            assert item.key is not None
            if item.value is None:
                known.pop(item.key, None)
            else:
                found = parse_assessment(item.value)
                assert found is not None
                known[item.key] = found
        return known

    def site_text(self, index: int) -> str:
        """A site's identifier as the store has it."""
        return site_id_text(self.sites[index].name.site_id)


def cell_of(item: Assessment) -> Cell:
    """The cell that an assessment is of."""
    return Cell(item.country, item.city, item.window)


async def settle(worker: AssessWorker) -> None:
    """Let a worker assess and send all that is in the store."""
    await worker.step()
    while not worker.caught_up:
        await worker.step()
