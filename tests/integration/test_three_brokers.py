"""A cluster of three brokers, of which each dies in turn while records are sent and read."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from confluent_kafka.admin import AdminClient

from ops.kafka.admin import client_settings
from ops.kafka.broker import ADMIN
from ops.kafka.cluster import broker_name
from ops.local_servers import LocalServers
from ops.stack import EmbeddedStack
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.adapters.tls import TlsFiles
from pipeline.core.errors import TransientError
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing

pytestmark = [pytest.mark.stack, pytest.mark.faults]

BROKERS = 3
BATCH = 20
BATCHES_AFTER = 3
PATIENCE_S = 240.0
ASKING_S = 2.0
POLL_S = 0.1
TOPIC = Topics().chain


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Three running brokers."""
    folder = tmp_path_factory.mktemp("three")
    with EmbeddedStack(folder, brokers=BROKERS, is_short_lived=True) as running:
        yield running


class Traffic:
    """Sends numbers in batches, each again until it is acknowledged, and reads them from another connection."""

    def __init__(self, connection: KafkaConnection) -> None:
        self.acknowledged = 0
        self.read: list[int] = []
        self._is_over = False
        self._producer = IdempotentProducer(connection)
        self._reader = KafkaPartitionReader(connection, TOPIC)

    async def send(self) -> None:
        """Send until it is over."""
        while not self._is_over:
            numbers = range(self.acknowledged, self.acknowledged + BATCH)
            try:
                await self._producer.send([Outgoing(TOPIC, b"%d" % one, None, 0) for one in numbers])
            except TransientError:
                continue
            self.acknowledged += BATCH
        await self._producer.close()

    async def receive(self) -> None:
        """Read until all that was acknowledged is there."""
        while not self._is_over or len(set(self.read)) < self.acknowledged:
            try:
                self.read += [int(found.value or b"") for found in await self._reader.fetch(500, 200)]
            except TransientError:
                continue
        await self._reader.close()

    def has_acknowledged(self, count: int) -> bool:
        """Tell whether so many numbers were acknowledged."""
        return self.acknowledged >= count

    def end(self) -> None:
        """Send no more."""
        self._is_over = True


async def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for a condition that may take a moment to look at."""
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(POLL_S)


async def test_each_of_three_brokers_may_die_while_records_are_sent_and_read(cluster: EmbeddedStack) -> None:
    """Sending goes on while one is away, and what was acknowledged is read in order, whole, by one reader."""
    files = cluster.credentials(ADMIN.role, ADMIN.name)
    tls = TlsFiles(files.ca, files.certificate, files.key)
    traffic = Traffic(KafkaConnection(cluster.kafka_bootstrap, tls, "three"))
    admin = LocalServers.of(cluster.data_dir).kafka_admin()

    def is_gone(node: int) -> bool:
        return not admin.is_ready(ASKING_S, node)

    flows = [asyncio.create_task(traffic.send()), asyncio.create_task(traffic.receive())]
    for node in range(1, BROKERS + 1):
        await until("all brokers hold everything", lambda: admin.is_whole(ASKING_S))
        await asyncio.to_thread(cluster.supervisor.kill, broker_name(node))
        wanted = traffic.acknowledged + BATCHES_AFTER * BATCH
        await until("sending goes on", partial(traffic.has_acknowledged, wanted))
        await until("the others see that it is gone", partial(is_gone, node))
        await asyncio.to_thread(cluster.supervisor.restart, broker_name(node))
    traffic.end()
    await asyncio.wait_for(asyncio.gather(*flows), PATIENCE_S)
    # What was under way at the end may be there, too.
    read = [one for one in dict.fromkeys(traffic.read) if one < traffic.acknowledged]
    assert read == list(range(traffic.acknowledged))


def test_every_partition_is_on_all_brokers(cluster: EmbeddedStack) -> None:
    """None has fewer copies than there are brokers."""
    servers = LocalServers.of(cluster.data_dir)
    told = AdminClient(client_settings(cluster.kafka_bootstrap, servers.asking)).list_topics(
        timeout=PATIENCE_S
    )
    held = {len(one.replicas) for topic in told.topics.values() for one in topic.partitions.values()}
    assert (held, len(told.brokers)) == ({BROKERS}, BROKERS)
