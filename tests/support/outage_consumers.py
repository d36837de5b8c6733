"""The platform worker and the API's view in the test's own event loop, on a real Kafka and real files."""

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import text

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.adapters.keystore import SealingKeyFolder
from pipeline.adapters.sql.engine import open_engine
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.adapters.sql.view import SqlLedgerView
from pipeline.apps.runtime import LoopService
from pipeline.apps.store_database import open_to_write
from pipeline.core.genesis import Genesis
from pipeline.core.topics import Topics
from pipeline.services.follower import Follower, Skipped, run_steps
from pipeline.services.platform import PlatformParts, PlatformWorker
from tests.support.world import TestSite


class PlatformRig:
    """A platform worker under its own runtime; knows the sealing keys of the sites that were added.

    Its store is a file in the folder, or in the database of ``url``.
    """

    def __init__(
        self, connection: KafkaConnection, genesis: Genesis, topics: Topics, folder: Path, url: str = ""
    ) -> None:
        self.store_file = folder / "platform" / "store.sqlite"
        self._keys = SealingKeyFolder(folder / "keys")
        self._url = url or f"sqlite:///{self.store_file}"
        self.engine = open_to_write(self._url)
        self.worker = PlatformWorker(
            PlatformParts(
                genesis,
                KafkaPartitionReader(connection, topics.blocks, genesis.partition),
                SqlPlatformStore(self.engine, genesis),
                IdempotentProducer(connection),
                topics.observations,
                self._keys.get,
                SystemClock(),
            )
        )
        self._service = LoopService(self.worker)

    def give_key(self, site: TestSite) -> None:
        """Let the worker open the packets of a site."""
        self._keys.add(site.platform_key)

    async def start(self) -> None:
        """Begin to follow the blocks."""
        await self._service.start()

    @property
    def is_running(self) -> bool:
        """Whether it neither ended nor crashed."""
        return self._service.started and not self._service.crashed

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds in the store, read beside the worker."""
        reader = open_engine(self._url)
        try:
            with reader.connect() as connection:
                return [tuple(row) for row in connection.execute(text(query))]
        finally:
            reader.dispose()

    def packets(self) -> list[tuple[str, str]]:
        """Return status and reason of every packet stored, in the order of the ledger."""
        return self.rows("SELECT status, reason FROM kpi_records ORDER BY height, entry")

    async def close(self) -> None:
        """End it in peace."""
        await self._service.stop()


class ViewRig:
    """The API's view and the follower that fills it; ``skipped`` collects what it passed over."""

    def __init__(self, connection: KafkaConnection, genesis: Genesis, topics: Topics, folder: Path) -> None:
        self.skipped: list[Skipped] = []
        self.view = SqlLedgerView(folder / "api", genesis)
        reader = KafkaPartitionReader(connection, topics.blocks, genesis.partition)
        self.follower = Follower(genesis, reader, self.view, alarm=self.skipped.append)
        self._stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the blocks."""
        self.task = asyncio.create_task(run_steps(self.follower.step, self._stop))

    async def close(self) -> None:
        """End it in peace; raises what ended it before."""
        self._stop.set()
        if self.task is not None:
            await self.task
        await self.follower.close()
        self.view.close()
