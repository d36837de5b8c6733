"""The stand: a deployment, its load, and what faults and judgements need to reach them."""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import redis

from ops.child import ChildState, ChildStatus
from ops.kafka.cluster import is_broker
from ops.local_servers import KAFKA, REDIS, LocalServers
from ops.redis.server import client
from ops.tls.principal import Role
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.chaos.deployment import ChaosDeployment
from pipeline.apps.chaos.load import Load
from pipeline.apps.chaos.steps import Part
from pipeline.apps.local.deployment import API_NAME, PLATFORM_NAME
from pipeline.core.errors import TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing, Received

POLL_S: Final = 0.2
_FETCH: Final = 500
_WAIT_MS: Final = 300
_ASKING_S: Final = 5.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stand:
    """Everything that runs. ``genesis`` is the chain's."""

    deployment: ChaosDeployment
    load: Load
    genesis: Genesis
    topics: Topics

    def names(self, kind: str) -> list[str]:
        """Return the programs of a kind: a part, or the name of one that there is once."""
        if kind == Part.NODE:
            return list(self.genesis.policy.node_names)
        if kind == KAFKA:
            return [name for name in self._running() if is_broker(name)]
        if kind == Part.SITE:
            return [site.name for site in self.load.sites]
        if kind == Part.VALIDATOR:
            return [name for name in self.programs() if name.startswith("validator-")]
        return [kind]

    def programs(self) -> list[str]:
        """Return the names of all programs of ours: what is no server."""
        return [name for name in self._running() if name != REDIS and not is_broker(name)]

    def _running(self) -> list[str]:
        return [child.name for child in self.children()]

    def children(self) -> tuple[ChildStatus, ...]:
        """Return everything that the supervisor runs."""
        return self.deployment.stack.children()

    def pid(self, name: str) -> int | None:
        """Return the process of a program; None while it is away."""
        return next((child.pid for child in self.children() if child.name == name), None)

    def kill(self, name: str) -> None:
        """SIGKILL, and let it lie until it is revived."""
        self.deployment.stack.supervisor.kill(name)

    def end(self, name: str) -> None:
        """Ask a program to end, and let it be away until it is revived."""
        self.deployment.stack.supervisor.stop(name)

    def restart(self, name: str, environment: dict[str, str] | None = None) -> None:
        """Run it again, with more in its environment, without waiting until it is ready."""
        self.deployment.stack.supervisor.restart(name, is_awaited=False, environment=environment)

    def revive(self) -> None:
        """Run again whatever does not run; the supervisor's own pauses would only lengthen rounds."""
        for child in self.children():
            if child.state is not ChildState.RUNNING:
                self.restart(child.name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program that runs."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)

    def is_kafka_whole(self) -> bool:
        """Tell whether every broker has all that the others have; a broker alone always has."""
        if self.deployment.stack.brokers == 1:
            return True
        return LocalServers.of(self.deployment.data_dir).kafka_admin().is_whole(_ASKING_S)

    def redis(self) -> "redis.Redis":
        """Return a client with all rights in Redis."""
        return client(LocalServers.of(self.deployment.data_dir).redis_admin())

    @property
    def head_key(self) -> str:
        """Where Redis has the chain's head."""
        return f"bkdms:{{{self.genesis.chain.hex()}}}:head"

    def connection(self, role: Role, name: str) -> KafkaConnection:
        """Return a way to Kafka as somebody with a certificate."""
        files = self.deployment.stack.credentials(role, name)
        tls = TlsFiles(files.ca, files.certificate, files.key)
        return KafkaConnection(self.deployment.stack.kafka_bootstrap, tls, f"chaos-{name}")

    def send(self, role: Role, topic: str, values: Sequence[bytes | None]) -> None:
        """Write values to partition 0 of a topic, with a certificate of a role that was stolen."""

        async def sending() -> None:
            producer = IdempotentProducer(self.connection(role, "stolen"))
            try:
                await producer.send([Outgoing(topic, value, b"chaos", 0) for value in values])
            finally:
                await producer.close()

        in_loop(sending())

    def read(self, topic: str, first: int) -> list[Received]:
        """Return the records of partition 0 of a topic from an offset, or what is left of them, to its end."""

        async def reading() -> list[Received]:
            reader = KafkaPartitionReader(self.connection(Role.AUDITOR, "chaos"), topic, 0)
            found: list[Received] = []
            try:
                start, end = await reader.bounds()
                position = max(first, start)
                await reader.seek(position)
                while position < end:
                    found += await reader.fetch(_FETCH, _WAIT_MS)
                    position = found[-1].offset + 1 if found else position
            finally:
                await reader.close()
            return found

        return in_loop(reading())

    def end_of(self, topic: str) -> int:
        """Return where partition 0 of a topic ends."""

        async def asking() -> int:
            reader = KafkaPartitionReader(self.connection(Role.AUDITOR, "chaos"), topic, 0)
            try:
                return (await reader.bounds())[1]
            finally:
                await reader.close()

        return in_loop(asking())

    def stored(self) -> int:
        """Return how many values the platform's store has."""
        return int(self.query("SELECT count(*) FROM observations")[0][0])

    def unverified(self) -> int:
        """Return how many records sites still keep because their commit is not verified."""
        folders = (self.deployment.data_dir / "sites" / site.name for site in self.load.sites)
        counts = (_query(folder / "spool.sqlite", "SELECT count(*) FROM records") for folder in folders)
        return sum(int(rows[0][0]) for rows in counts)

    def query(self, question: str) -> list[tuple[Any, ...]]:
        """Ask the platform's store."""
        return _query(self.deployment.store_file, question)

    def all_programs(self) -> list[str]:
        """Return every program that a fault may take: sites, validators, nodes, platform, API."""
        parts = [name for part in (Part.SITE, Part.VALIDATOR, Part.NODE) for name in self.names(part)]
        return [*parts, PLATFORM_NAME, API_NAME]


def _query(file: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(question).fetchall()


def in_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """Run something asynchronous to its end."""
    return asyncio.run(work)


def until(what: str, holds: Callable[[], bool], timeout_s: float) -> None:
    """Wait for a condition.

    Raises:
        TransientError: it did not come to hold in time.
    """
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise TransientError(f"waited {timeout_s:.0f} s in vain until {what}", code="chaos")
        time.sleep(POLL_S)
