"""A store as the real platform worker fills it, and auditing it against the blocks."""

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from pipeline.adapters.sql.engine import open_sqlite
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.adapters.sql.store_snapshot import SqlStoreSnapshot
from pipeline.core.control import Revoke
from pipeline.core.sealing import SealingKey
from pipeline.core.storage import KeyRing
from pipeline.services.platform import PlatformParts, PlatformWorker
from pipeline.services.store_audit import StoreAudit, StoreReport
from tests.support.chain import Chain, MemoryProducer, MemoryReader, MemoryTopic
from tests.support.world import NOW_MS, control_value, site_name


class FixedClock:
    """Always the same time."""

    def now_ms(self) -> int:
        """Return it."""
        return NOW_MS + 5000


class StoredChain:
    """Six blocks: enrolments, packets, one that does not fit, one without key, control records; their stores.

    Site 3's key is not the platform's, so that its packets stay unopened.
    """

    def __init__(self, folder: Path) -> None:
        self.chain = Chain()
        self.genesis = self.chain.world.genesis
        self.sites = [self.chain.world.site(i) for i in (1, 2, 3)]
        self.keys: dict[bytes, SealingKey] = {
            site.platform_key.public.fingerprint: site.platform_key for site in self.sites[:2]
        }
        one, two, three = self.sites
        self.chain.enrol(*self.sites)
        self.chain.packets(one.packet([10, 20]), two.packet([30]), three.packet([40]))
        self.chain.packets(one.packet([50]), two.packet(records=[two.record(1, name=site_name(77))]))
        revoke = Revoke(three.name, three.signer.public.fingerprint, "moved")
        controls = [self.chain.world.backfill(one, 0, NOW_MS), self.chain.world.control(revoke)]
        self.chain.block(*map(control_value, controls))
        self.chain.packets(two.packet([60, 70, 80]), one.packet([90]))
        self.chain.packets(one.packet([100]))
        self.blocks = self.chain.certified
        self.folder = folder

    async def fill(self, name: str, blocks: int) -> Path:
        """Let a platform worker store the first blocks; return the file."""
        path = self.folder / name
        await self.fill_into(open_sqlite(path, durable=False), blocks)
        return path

    async def fill_into(self, engine: Engine, blocks: int = 6) -> None:
        """Let a platform worker store the first blocks in a database, or go on there."""
        topic = MemoryTopic()
        topic.publish(self.blocks[:blocks])
        store = SqlPlatformStore(engine, self.genesis)
        reader, producer = MemoryReader(topic), MemoryProducer()
        parts = PlatformParts(
            self.genesis, reader, store, producer, "kpi.observations.v1", self.keys.get, FixedClock()
        )
        worker = PlatformWorker(parts)
        while await worker.step(0):
            pass
        await worker.close()

    def audit(
        self,
        store: Path | str,
        *,
        blocks: int = 6,
        keys: KeyRing | None = None,
        from_kafka: bool = True,
    ) -> StoreReport:
        """Audit a store, a file or an address, against the first blocks; offsets are heights less one."""
        snapshot = SqlStoreSnapshot(f"sqlite:///{store}" if isinstance(store, Path) else store)
        audit = StoreAudit(self.genesis, snapshot, self.keys.get if keys is None else keys)
        for offset, data in enumerate(self.blocks[:blocks]):
            audit.take(data, offset if from_kafka else None)
        report = audit.finish(blocks if from_kafka else None)
        snapshot.close()
        return report


class Tampered:
    """A copy of a store that somebody with a file editor has."""

    def __init__(self, original: Path, name: str) -> None:
        self.path = Path(shutil.copy(original, original.with_name(f"{name}.sqlite")))

    def run(self, statement: str, values: Sequence[Any] = (), *, changes: bool = True) -> None:
        """Run one statement on the copy, which changes rows."""
        connection = sqlite3.connect(self.path)
        with connection:
            changed = connection.execute(statement, values).rowcount
        connection.close()
        assert not changes or changed >= 1, statement

    def rows(self, table: str, order: Sequence[str]) -> list[dict[str, Any]]:
        """Return all rows of a table, ordered."""
        connection = sqlite3.connect(self.path)
        connection.row_factory = sqlite3.Row
        found = [
            dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {', '.join(order)}")
        ]
        connection.close()
        return found
