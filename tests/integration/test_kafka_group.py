"""A member of a consumer group on a real Kafka: commits, rebalances, held partitions, expired records."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from ops.stack import EmbeddedStack
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaTrimmer
from pipeline.adapters.kafka_group import KafkaGroupReader
from pipeline.core.errors import ConflictError
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing, Received
from tests.support.nodes import tls

pytestmark = pytest.mark.stack

PATIENCE_S = 60
Joiner = Callable[[], KafkaGroupReader]
Putter = Callable[[int, list[bytes]], Awaitable[None]]


def connection(stack: EmbeddedStack, role: str, name: str) -> KafkaConnection:
    return KafkaConnection(stack.kafka_bootstrap, tls(stack.credentials(role, name)), name)


@pytest.fixture
async def join(
    stack: EmbeddedStack, topics: Topics, unique_name: Callable[[str], str]
) -> AsyncIterator[Joiner]:
    """Makes members of one group that reads the packets topic."""
    group = unique_name("bkdms-validator")
    members: list[KafkaGroupReader] = []

    def joined() -> KafkaGroupReader:
        members.append(KafkaGroupReader(connection(stack, "validator", "v1"), topics.packets, group))
        return members[-1]

    yield joined
    for member in members:
        await member.close()


@pytest.fixture
async def put(stack: EmbeddedStack, topics: Topics) -> AsyncIterator[Putter]:
    """Appends values to a partition of the packets topic."""
    producer = IdempotentProducer(connection(stack, "site", "s1"))

    async def append(partition: int, values: list[bytes]) -> None:
        await producer.send([Outgoing(topics.packets, value, None, partition) for value in values])

    yield append
    await producer.close()


async def some(member: KafkaGroupReader, count: int = 1) -> list[Received]:
    """Return the first batch that comes, of at most ``count`` records."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await member.fetch(count, 500)):
            pass
        return found


async def test_what_is_not_committed_is_read_again_by_the_next_member(join: Joiner, put: Putter) -> None:
    await put(0, [b"a", b"b", b"c"])
    first = join()
    assert [r.value for r in await some(first)] == [b"a"]
    await first.commit({0: 1})
    assert [r.value for r in await some(first)] == [b"b"]
    assert await first.lag() == {0: 2, 1: 0, 2: 0, 3: 0}
    await first.close()
    assert [r.value for r in await some(join(), 10)] == [b"b", b"c"]


async def test_rewinding_reads_the_batch_again(join: Joiner, put: Putter) -> None:
    await put(0, [b"a", b"b"])
    member = join()
    assert [r.value for r in await some(member, 10)] == [b"a", b"b"]
    await member.rewind()
    assert [r.value for r in await some(member, 10)] == [b"a", b"b"]


@pytest.mark.faults
async def test_a_batch_cannot_be_committed_after_its_partitions_moved_on(
    topics: Topics, join: Joiner, put: Putter
) -> None:
    """The newcomer reads everything from the last commit, so the older member's word counts no more."""
    for partition in range(4):
        await put(partition, [b"x"])
    old, new = join(), join()
    positions = {r.partition: r.offset + 1 for r in await some(old, 10)}
    newcomer = asyncio.create_task(some(new, 10))
    async with asyncio.timeout(PATIENCE_S):
        while REGISTRY.get_sample_value("bkdms_consumer_rebalances_total", {"topic": topics.packets}) is None:
            await asyncio.sleep(0.1)
    with pytest.raises(ConflictError, match="handed out anew"):
        await old.commit(positions)
    await old.rewind()
    again = await some(old, 10)
    assert {r.offset for r in [*again, *await newcomer]} == {0}
    assert len(again) + len(newcomer.result()) == 4


async def test_a_held_partition_waits_while_others_go_on(join: Joiner, put: Putter) -> None:
    await put(0, [b"a", b"b"])
    member = join()
    await some(member)
    await member.commit({0: 1})
    await member.hold(0, 1)
    await put(1, [b"other"])
    assert [r.value for r in await some(member, 10)] == [b"other"]
    await member.commit({1: 1})
    assert await member.fetch(10, 1000) == []
    await member.release(0)
    assert [r.value for r in await some(member, 10)] == [b"b"]


async def test_records_that_expired_unread_are_counted(
    stack: EmbeddedStack,
    topics: Topics,
    join: Joiner,
    put: Putter,
) -> None:
    await put(0, [b"a", b"b", b"c", b"d"])
    first = join()
    await some(first)
    await first.commit({0: 1})
    await first.close()
    await KafkaTrimmer(connection(stack, "admin", "local")).trim(topics.packets, 0, 3)
    assert [r.value for r in await some(join(), 10)] == [b"d"]
    counted = {"topic": topics.packets}
    assert REGISTRY.get_sample_value("bkdms_consumer_expired_records_total", counted) == 2


async def test_what_was_not_counted_yet_shows_as_zero(topics: Topics, join: Joiner, put: Putter) -> None:
    """Else a first rebalance is no increase to Prometheus, and no dashboard moves."""
    await put(0, [b"a"])
    member = join()
    await some(member)
    await member.lag()
    for name in ("rebalances", "expired_records"):
        assert REGISTRY.get_sample_value(f"bkdms_consumer_{name}_total", {"topic": topics.packets}) == 0
