"""Validators as processes beside the session's Kafka: sites that send, and what arrives."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from ops.ports import reserve
from ops.stack import EmbeddedStack
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.apps.local.settings_file import write_settings
from pipeline.core import avro
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing, Received
from schemas import schema
from tests.support.nodes import tls
from tests.support.pages import page
from tests.support.validation import enrolments
from tests.support.world import TestSite, World

PATIENCE_S = 60


class ValidatorRig:
    """A chain of a ``World`` whose sites are registered, and validators that run as ``bkdms worker validate``."""

    def __init__(self, stack: EmbeddedStack, topics: Topics, folder: Path) -> None:
        self.stack, self.topics, self.folder = stack, topics, folder
        self.world = World(topic=topics.chain)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # Not as a site, whose quota would slow down a test's flood.
        self._site_producer = IdempotentProducer(self.connection("admin", "local"))
        (folder / "genesis.json").write_bytes(self.world.genesis.raw)

    def connection(self, role: str, name: str) -> KafkaConnection:
        """Return a connection as a principal, which is made when missing."""
        return KafkaConnection(self.stack.kafka_bootstrap, tls(self.stack.credentials(role, name)), name)

    async def register(self, sites: Sequence[TestSite]) -> None:
        """Publish the sites' registrations, as nodes do."""
        producer = IdempotentProducer(self.connection("node", "rig"))
        batch = [
            Outgoing(self.topics.sites, value, str(site.name).encode())
            for site, value in zip(sites, enrolments(self.world, sites), strict=True)
        ]
        await producer.send(batch)
        await producer.close()

    async def submit(self, site: TestSite | None, values: Sequence[bytes]) -> None:
        """Send values to the packets topic as a site does; without one they go to partition 0."""
        key, partition = (None, 0) if site is None else (str(site.name).encode(), None)
        await self._site_producer.send(
            [Outgoing(self.topics.packets, value, key, partition) for value in values]
        )

    def start(self, name: str, *options: str) -> None:
        """Start a validator and wait until it is ready."""
        port = reserve(self.folder / "ports.json", [name])[name]
        files = self.stack.credentials("validator", name)
        settings = {
            "data_dir": self.folder,
            "topic_prefix": self.topics.prefix,
            "genesis": self.folder / "genesis.json",
            "kafka": {
                "bootstrap": self.stack.kafka_bootstrap,
                "ca": files.ca,
                "certificate": files.certificate,
                "key": files.key,
            },
            "worker": {"metrics_port": port},
        }
        file = write_settings(self.folder / f"{name}.toml", settings)
        argv = [sys.executable, "-m", "pipeline.apps.cli", "--config", str(file), "worker", "validate"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*argv, "--name", name, *options], stderr=log, stdout=subprocess.DEVNULL
            )
        until(lambda: "bkdms_worker_ready 1.0" in self.metrics(name))

    def metrics(self, name: str) -> str:
        """Return a validator's metrics page; nothing where it does not answer."""
        port = reserve(self.folder / "ports.json", [name])[name]
        return page(self.stack, name, port)

    def counted(self, name: str, outcome: str) -> int:
        """Return how many records a validator counted with an outcome."""
        start = f'bkdms_validator_outcomes_total{{outcome="{outcome}"}} '
        lines = [line for line in self.metrics(name).splitlines() if line.startswith(start)]
        return int(float(lines[0].removeprefix(start))) if lines else 0

    def lag(self, name: str) -> dict[int, int]:
        """Return a validator's lag by partition."""
        start = 'bkdms_consumer_lag_records{partition="'
        lines = [line for line in self.metrics(name).splitlines() if line.startswith(start)]
        return {int(line.removeprefix(start)[0]): int(float(line.split()[-1])) for line in lines}

    @staticmethod
    def reasons(letters: Sequence[Received]) -> list[str]:
        """Return the reasons of dead letters."""
        fields = [avro.unframe(schema("Rejection"), letter.value or b"") for letter in letters]
        return [found["reason"] for found in fields if found is not None]

    def memory_mb(self, name: str) -> float:
        """Return a validator's resident memory."""
        return float(psutil.Process(self.processes[name].pid).memory_info().rss) / (1 << 20)

    def terminate(self, name: str) -> int:
        """Send SIGTERM and return the exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(PATIENCE_S)

    def kill(self, name: str) -> None:
        """Send SIGKILL."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def events(self, name: str) -> list[str]:
        """Return the names of a validator's log events."""
        lines = (self.folder / f"{name}.log").read_text().splitlines()
        return [json.loads(line)["event"] for line in lines]

    async def read(self, topic: str, count: int) -> list[Received]:
        """Return the first records of partition 0 of a topic, at least ``count``."""
        role = "node" if topic == self.topics.chain else "auditor"
        reader = KafkaPartitionReader(self.connection(role, "rig"), topic, 0)
        try:
            found: list[Received] = []
            deadline = time.monotonic() + PATIENCE_S
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count} records arrived in {topic}"
                found += await reader.fetch(5000, 500)
            return found
        finally:
            await reader.close()

    async def close(self) -> None:
        """End everything that was started."""
        for name in list(self.processes):
            self.kill(name)
        await self._site_producer.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
