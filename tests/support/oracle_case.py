"""A small run for the oracle: two sites with their files, the chain of what they sent, and the platform's store."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ops.oracle
from ops.oracle.plan import Plan, PlannedSite, TimeColumn, ValueColumn
from pipeline.adapters.sql.engine import open_sqlite
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.core.block import Block, Entry, encode_certified, make_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.derive import entries_root
from pipeline.core.names import site_id_text
from pipeline.services.platform import PlatformParts, PlatformWorker
from tests.support.chain import Chain, MemoryProducer, MemoryReader, MemoryTopic, framed
from tests.support.world import NOW_MS, TestSite

SCHEMAS = Path(__file__).parents[2] / "schemas" / "avro"
PACKETS = 3
STEP_MS = 60_000


class _Clock:
    def now_ms(self) -> int:
        return NOW_MS


class OracleCase:
    """Each site is told to send ``PACKETS`` packets of two records; ``finish`` ends the run, ``judge`` judges it.

    Packet ``i`` of a site holds the hundredths 10 i and 10 i + 1, collected ``i`` minutes before ``NOW_MS``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain = Chain()
        self.sites = [self.chain.world.site(i) for i in (1, 2)]
        self.chain.enrol(*self.sites)
        self.plan = Plan(folder, tuple(map(self._told, self.sites)))
        self.values: list[bytes] = []
        self.store = folder / "store.sqlite"

    def _told(self, site: TestSite) -> PlannedSite:
        rows = ["time,speed,sensor"]
        for number in range(PACKETS):
            when = datetime.fromtimestamp(time_ms(number) / 1000, UTC).isoformat()
            rows += [f"{when},{value / 100},s" for value in hundredths(number)]
        address = site_id_text(site.name.site_id)
        file = f"{address.replace(':', '_')}.csv"
        (self.folder / file).write_text("\n".join(rows) + "\n", encoding="utf-8")
        return PlannedSite(
            name=address,
            country=site.name.country,
            city=site.name.city,
            site_id=address,
            file=file,
            sha256="",
            file_rows=None,
            site_rows=None,
            only={},
            time=TimeColumn("time", "%Y-%m-%dT%H:%M:%S%z", ""),
            values=(ValueColumn("speed", "LOCAL:TRAFFIC_SPEED", "", "HM", "1"),),
        )

    def send(self, site: TestSite, number: int, values: Sequence[int] | None = None) -> None:
        """Put packet ``number`` of a site into a block of its own; ``values`` instead of those told."""
        chosen = list(values or hundredths(number))
        self.chain.packets(site.packet(chosen, time_ms=time_ms(number)))

    async def finish(self) -> "OracleCase":
        """Publish all blocks and store them as the platform does."""
        topic = MemoryTopic()
        topic.publish(self.chain.certified)
        self.values = [value for value in topic.values if value is not None]
        engine = open_sqlite(self.store, durable=False)
        genesis = self.chain.world.genesis
        keys = {site.platform_key.public.fingerprint: site.platform_key for site in self.sites}
        store = SqlPlatformStore(engine, genesis)
        parts = PlatformParts(
            genesis, MemoryReader(topic), store, MemoryProducer(), "kpi.observations.v1", keys.get, _Clock()
        )
        worker = PlatformWorker(parts)
        while await worker.step(0):
            pass
        await worker.close()
        return self

    async def send_all(self) -> "OracleCase":
        """Send everything as told, and end the run."""
        for number in range(PACKETS):
            for site in self.sites:
                self.send(site, number)
        return await self.finish()

    def change(self, sql: str, *arguments: object) -> None:
        """Change the store behind the platform's back."""
        with sqlite3.connect(self.store) as connection:
            assert connection.execute(sql, arguments).rowcount > 0
        connection.close()

    def last_block(self, entries: Sequence[Entry] | None = None, **header: Any) -> bytes:
        """Return another last block as published: rules broken, but hashed and certified as if all were right."""
        derived = self.chain.blocks[-1]
        chosen = derived.block.entries if entries is None else tuple(entries)
        fields: dict[str, Any] = {"entry_count": len(chosen), "entries_root": entries_root(chosen)} | header
        block: Block = make_block(replace(derived.block.header, **fields), chosen)
        frontier = derived.before.extend(block.leaf_hashes)
        checkpoint = Checkpoint(derived.checkpoint.origin, frontier.size, frontier.root())
        return framed(encode_certified(block, self.chain.world.certificate(checkpoint)))

    def judge(self) -> ops.oracle.Verdict:
        """Judge the run."""
        return ops.oracle.judge(self.plan, self.values, self.store, SCHEMAS)


def hundredths(number: int) -> tuple[int, int]:
    """Return what packet ``number`` of a site was told to hold."""
    return 10 * number, 10 * number + 1


def time_ms(number: int) -> int:
    """Return when the values of packet ``number`` were collected."""
    return NOW_MS - number * STEP_MS
