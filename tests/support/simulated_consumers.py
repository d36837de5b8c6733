"""Exporter, platform worker and ledger view as processes that may die at any write, over one topic in memory."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData

from pipeline.adapters.sql.engine import open_sqlite
from pipeline.adapters.sql.platform_tables import PLATFORM
from pipeline.adapters.sql.state_rows import STATE
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.adapters.sql.view import SqlLedgerView
from pipeline.adapters.sql.view_tables import VIEW
from pipeline.core.errors import ConflictError, TransientError
from pipeline.core.storage import KeyRing
from pipeline.ports import Outgoing
from pipeline.services.exporter import ExportWorker
from pipeline.services.follower import Follower
from pipeline.services.platform import PlatformParts, PlatformWorker
from tests.support.chain import MemoryReader, MemoryTopic
from tests.support.disk_faults import FaultyDisk
from tests.support.simulated_time import SimulatedLoop
from tests.support.site_ledger import FixedClock
from tests.support.sql_faults import CrashError, all_rows
from tests.support.tiles import exporter
from tests.support.world import World
from tests.support.write_faults import Process, fuse_database

OBSERVATIONS = "kpi.observations.v1"


@dataclass
class Observed:
    """``Producer`` of one process to a list that outlives it."""

    sent: list[Outgoing]
    process: Process

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Take a batch."""
        self.process.check()
        self.process.write(lambda: self.sent.extend(batch))

    async def close(self) -> None:
        """Leave."""


class Consumer(ABC):
    """One consumer with a folder of its own, run after run."""

    def __init__(self, loop: SimulatedLoop, world: World, topic: MemoryTopic, folder: Path) -> None:
        self.loop, self.world, self.topic, self.folder = loop, world, topic, folder
        self.process: Process | None = None
        self.disk = FaultyDisk()
        self.caught_up = False
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def open(self, process: Process) -> None:
        """Open the files and make what ``step`` needs."""

    @abstractmethod
    async def step_once(self) -> int:
        """Take the next records; return how many."""

    @abstractmethod
    def close(self) -> None:
        """Let the files go without writing."""

    def start(self) -> None:
        """Start, if it does not run."""
        if self.process is None:
            self.process = Process()
            self.disk.process = self.process
            self.open(self.process)

    def step(self) -> None:
        """Do a step as the runtime does: what fails for now is tried again by the next one, a crash ends the run."""
        self.start()
        assert self.process is not None
        self.caught_up = False
        with self.disk.installed():
            try:
                self.caught_up = self.loop.run_until_complete(self.step_once()) == 0
            except (TransientError, ConflictError):
                pass
            except CrashError:
                self.stop()

    def stop(self) -> None:
        """Kill it between two steps."""
        if self.process is not None:
            self.process.is_dead = True
            self.close()
            self.process = None

    def lose_power(self, survives: Sequence[bool]) -> None:
        """Kill it, and of what it wrote without making it durable keep what ``survives``, the newest first."""
        self.stop()
        self.disk.lose_power(survives)

    def drain(self) -> None:
        """Let it do everything there is, without faults."""
        while not self.caught_up:
            if self.process is not None:
                self.process.put_out()
            self.step()

    def put_back(self, copy: Path) -> None:
        """Restore the folder from a copy."""
        self.stop()
        self.disk.forget()
        shutil.rmtree(self.folder)
        shutil.copytree(copy, self.folder)


class ExportConsumer(Consumer):
    """The exporter."""

    worker: ExportWorker

    def open(self, process: Process) -> None:
        """Open the files and make what ``step`` needs."""
        self.worker = exporter(self.folder, self.world, self.topic)
        fuse_database(self.worker._parts.store._engine, process)  # type: ignore[attr-defined]

    async def step_once(self) -> int:
        """Take the next records; return how many."""
        return await self.worker.step(0)

    def close(self) -> None:
        """Let the files go without writing."""
        self.worker._parts.store.close()


class PlatformConsumer(Consumer):
    """The platform worker; ``keys`` opens packets."""

    worker: PlatformWorker

    def __init__(
        self, loop: SimulatedLoop, world: World, topic: MemoryTopic, folder: Path, keys: KeyRing
    ) -> None:
        super().__init__(loop, world, topic, folder)
        self.keys = keys
        self.sent: list[Outgoing] = []

    def open(self, process: Process) -> None:
        """Open the files and make what ``step`` needs."""
        engine = open_sqlite(self.folder / "store.sqlite", durable=False)
        store, reader = SqlPlatformStore(engine, self.world.genesis), MemoryReader(self.topic)
        fuse_database(engine, process)
        observed = Observed(self.sent, process)
        parts = PlatformParts(
            self.world.genesis, reader, store, observed, OBSERVATIONS, self.keys, FixedClock()
        )
        self.worker = PlatformWorker(parts)

    async def step_once(self) -> int:
        """Take the next records; return how many, or 1 while observations wait."""
        return await self.worker.step(0) or int(not self.worker.caught_up)

    def close(self) -> None:
        """Let the files go without writing."""
        self.worker._parts.store.close()


class ViewConsumer(Consumer):
    """The API's view with the follower that fills it."""

    view: SqlLedgerView
    follower: Follower

    def open(self, process: Process) -> None:
        """Open the files and make what ``step`` needs."""
        self.view = SqlLedgerView(self.folder, self.world.genesis)
        fuse_database(self.view.engine, process)
        self.follower = Follower(self.world.genesis, MemoryReader(self.topic), self.view)

    async def step_once(self) -> int:
        """Take the next records; return how many."""
        return await self.follower.step(0)

    def close(self) -> None:
        """Let the files go without writing."""
        self.view.close()


def rows_of(path: Path, *tables: MetaData) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a closed SQLite file."""
    engine: Engine = open_sqlite(path, durable=False)
    try:
        return {name: rows for part in tables for name, rows in all_rows(engine, part).items()}
    finally:
        engine.dispose()


def platform_rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the platform's store in a folder."""
    return rows_of(folder / "store.sqlite", PLATFORM, STATE)


def view_content(folder: Path) -> dict[str, Any]:
    """Return all rows of a view, and the bytes of its hash files."""
    files = {path.name: path.read_bytes() for path in (folder / "tree").glob("*.bin")}
    return rows_of(folder / "view.sqlite", VIEW, STATE) | {name: data for name, data in files.items() if data}
