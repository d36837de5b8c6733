"""Real accounting nodes with real folders on simulated topics and a simulated Redis, in one thread."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import BkdmsError, IntegrityError
from pipeline.core.state import ChainState
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.services.accounting.memory import NodeIdentity, NodeLinks
from pipeline.services.accounting.node import AccountingNode
from pipeline.services.signatures import SignaturePool
from tests.support.simulated_kafka import (
    Broker,
    Delivery,
    SimulatedProducer,
    SimulatedReader,
    SimulatedTrimmer,
)
from tests.support.simulated_redis import LedgerKeys, SimulatedLedger
from tests.support.simulated_time import SimulatedLoop
from tests.support.sql_faults import CrashError
from tests.support.world import World
from tests.support.write_faults import Process, fuse_database

RESTARTS = ("offset_out_of_range",)
"""Codes of errors that end a node and that a supervisor mends by starting it again."""
_MEMORY = Path("/dev/shm")


def scratch_folder() -> Path:
    """Return a new folder, in memory where the system has such a place, so that syncing costs nothing."""
    return Path(tempfile.mkdtemp(prefix="bkdms-", dir=_MEMORY if _MEMORY.is_dir() else None))


@dataclass
class Running:
    """One run of a node."""

    process: Process
    store: SqliteNodeStore
    task: asyncio.Task[None]


class Cluster:
    """The nodes of a world, all of them with one broker and one Redis; none runs at first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.topics = Topics()
        self.loop = SimulatedLoop()
        self.broker = Broker(self.loop, may_lose=self.topics.cosignatures)
        self.redis = LedgerKeys()
        self.folder = scratch_folder()
        self.running: dict[str, Running] = {}
        self.deliveries: list[Delivery] = []
        self._reference = Deriver(world.state())
        self._log_next = 0
        self.reference: list[Derived] = []

    @property
    def names(self) -> list[str]:
        """All nodes' names."""
        return list(self.world.node_signers)

    def start(self, name: str) -> None:
        """Start a node that does not run."""
        assert name not in self.running
        process, store = Process(), SqliteNodeStore(self.folder / name, self.world.genesis)
        fuse_database(store._engine, process)
        identity = NodeIdentity(name, self.world.signers(name), self.names.index(name))
        node = AccountingNode(identity, self.world.genesis, self.topics, self._links(process, store))
        self.running[name] = Running(process, store, self.loop.create_task(node.run()))

    def _links(self, process: Process, store: SqliteNodeStore) -> NodeLinks:
        def reader(topic: str) -> SimulatedReader:
            return SimulatedReader(self.broker, topic, process)

        topics = self.topics
        return NodeLinks(
            reader(topics.chain),
            reader(topics.cosignatures),
            reader(topics.blocks),
            SimulatedProducer(self.broker, process, self._deliver),
            SimulatedProducer(self.broker, process, self._deliver),
            SimulatedTrimmer(self.broker, process),
            SimulatedLedger(self.redis, process, self.loop.time),
            store,
            SignaturePool(1),
            self.broker,
        )

    def _deliver(self) -> Delivery:
        return self.deliveries.pop() if self.deliveries else Delivery.GOOD

    def kill(self, name: str) -> None:
        """End a node between two of its steps."""
        found = self.running.pop(name)
        found.process.is_dead = True
        found.task.cancel()
        self.loop.run_until_complete(asyncio.wait([found.task]))
        found.store.close()

    def copy_folder(self, name: str) -> Path:
        """Return a copy of a node's folder as it is now."""
        copy = self.folder / "copies" / str(len(list(self.folder.glob("copies/*"))))
        shutil.copytree(self.folder / name, copy)
        return copy

    def put_folder(self, name: str, copy: Path | None) -> None:
        """Replace the folder of a node that does not run by a copy, or take it away."""
        assert name not in self.running
        shutil.rmtree(self.folder / name, ignore_errors=True)
        if copy is not None:
            shutil.copytree(copy, self.folder / name)

    def run_for(self, seconds: float) -> None:
        """Let time pass, then bury the nodes that ended; only some errors may end one."""
        self.loop.run_for(seconds)
        for name in [name for name, found in self.running.items() if found.task.done()]:
            found = self.running.pop(name)
            found.store.close()
            error = found.task.exception()
            mends_itself = isinstance(error, BkdmsError) and (
                not isinstance(error, IntegrityError) or error.code in RESTARTS
            )
            if error is not None and not mends_itself and not isinstance(error, CrashError):
                raise error

    def derive(self) -> list[Derived]:
        """Return the blocks that the whole chain log gives, derived in one go by nobody's node."""
        for record in self.broker.topic(self.topics.chain).records[self._log_next :]:
            read = LogRecord(record.offset, record.time_ms, record.value)
            self.reference.extend(self._reference.feed(read).closed)
            self._log_next = record.offset + 1
        return self.reference

    def replace_log(self, before: Sequence[bytes], reanchor: bytes) -> None:
        """Lose the chain log, all of which is published, and begin another one; no node runs.

        Values ``before`` the reanchor are of no chain.
        """
        assert not self.running
        assert not self.has_open_entries
        self.broker.lose(self.topics.chain)
        self.broker.append([Outgoing(self.topics.chain, value) for value in [*before, reanchor]])
        state = self.state
        self._reference = Deriver(ChainState(state.genesis, deepcopy(state.tables), state.head))
        self._log_next = len(before)

    @property
    def state(self) -> ChainState:
        """The state after the whole log."""
        return self._reference.state

    @property
    def has_open_entries(self) -> bool:
        """Whether the log ends with entries whose block is not closed."""
        return self._reference.open_entries > 0

    def close(self) -> None:
        """Kill everything and clean up."""
        for name in list(self.running):
            self.kill(name)
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)
