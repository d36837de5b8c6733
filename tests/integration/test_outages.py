"""Kafka, Redis and the store refuse, vanish and come back: everything goes on by itself, nothing is lost or doubled."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import event

from ops.local_servers import KAFKA, REDIS
from ops.stack import EmbeddedStack
from pipeline.adapters.kafka import IdempotentProducer
from pipeline.adapters.sql import engine as sql_engine
from pipeline.core.topics import Topics
from pipeline.services.accounting.committer import Repair
from pipeline.telemetry import metrics as worker_metrics
from pipeline.telemetry import node_metrics as metrics
from tests.support.nodes import ChainRig, running_rig
from tests.support.outage_consumers import PlatformRig
from tests.support.outage_topics import read_observations
from tests.support.outage_traffic import Traffic, committed_ids
from tests.support.validators import ValidatorRig
from tests.support.world import TestSite

pytestmark = [pytest.mark.stack, pytest.mark.faults]
SITES = 3
OUTAGE_S = 2.5
# Three loops of each of four nodes ask Redis; all begin at once and then wait longer and longer.
RETRIES_A_SECOND = 30


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """A stack whose servers may be killed without disturbing other tests."""
    with EmbeddedStack(tmp_path_factory.mktemp("outages"), is_short_lived=True) as running:
        yield running


@pytest.fixture
async def rig(
    own_stack: EmbeddedStack, unique_name: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[ChainRig]:
    """Four nodes on a fresh chain with three sites enrolled."""
    topics = Topics(f"{unique_name('o')}.")
    async with running_rig(own_stack, topics, tmp_path, SITES) as opened:
        yield opened


def sites_of(rig: ChainRig) -> list[TestSite]:
    return [rig.world.site(number) for number in range(SITES)]


def traffic_to(rig: ChainRig, topic: str, role: str) -> Traffic:
    return Traffic(sites_of(rig), topic, IdempotentProducer(rig.connection(role, "traffic")))


def retries(code: str) -> int:
    return int(metrics.RETRIES.labels(code)._value.get())


def repairs() -> int:
    return sum(int(metrics.REPAIRS.labels(reason.value)._value.get()) for reason in Repair)


async def published_blocks(rig: ChainRig) -> int:
    return len(await rig.read(rig.topics.blocks))


async def all_committed(rig: ChainRig, traffic: Traffic) -> None:
    """Wait until everything sent is in the ledger, and see that it is there once and in order."""

    async def arrived() -> bool:
        return sum(map(len, (await committed_ids(rig)).values())) >= traffic.count

    await rig.until(arrived, 60)
    assert await committed_ids(rig) == traffic.ids


async def test_while_redis_refuses_writes_nothing_is_committed_and_then_everything(rig: ChainRig) -> None:
    """The nodes agree meanwhile, ask again with growing pauses, and none of them ends."""
    admin: Redis = rig.redis("admin").open()
    limit = (await admin.config_get("maxmemory"))["maxmemory"] or 0
    traffic = traffic_to(rig, rig.topics.chain, "validator")
    before = await published_blocks(rig)
    await admin.config_set("maxmemory", 1)
    try:
        failed, began = retries("redis"), time.monotonic()
        await traffic.send(2)
        await rig.until(lambda: time.monotonic() - began > OUTAGE_S)
        asked = (retries("redis") - failed) / (time.monotonic() - began)
        assert await published_blocks(rig) == before
        assert (await committed_height(rig)) == before
    finally:
        await admin.config_set("maxmemory", limit)
        await admin.aclose()
    assert 0 < asked < RETRIES_A_SECOND
    await all_committed(rig, traffic)
    await traffic.producer.close()


async def committed_height(rig: ChainRig) -> int:
    ledger = rig.ledger()
    head = await ledger.head()
    await ledger.close()
    return head.height if head is not None else 0


async def test_redis_may_be_killed_in_the_middle_of_traffic(rig: ChainRig) -> None:
    """While it is away nothing is committed; its restart finds the ledger as it was, and everything follows."""
    traffic, mended = traffic_to(rig, rig.topics.chain, "validator"), repairs()
    await traffic.send(2)
    await asyncio.to_thread(rig.stack.supervisor.kill, REDIS)
    failed, before = retries("redis"), await published_blocks(rig)
    await traffic.send(2)
    await rig.until(lambda: retries("redis") - failed >= len(rig.tasks))
    assert await published_blocks(rig) <= before + 1  # one may have been on its way
    await asyncio.to_thread(rig.stack.supervisor.restart, REDIS)
    assert await committed_height(rig) >= before
    await traffic.send(1)
    await all_committed(rig, traffic)
    assert repairs() == mended
    await traffic.producer.close()


async def test_kafka_may_be_killed_in_the_middle_of_traffic(rig: ChainRig, tmp_path: Path) -> None:
    """Nodes, validator and platform go on by themselves: every packet is in ledger and store once, in order."""
    validators = ValidatorRig(rig.stack, rig.topics, tmp_path)
    await asyncio.to_thread(validators.start, "validator-1")
    platform = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, rig.topics, tmp_path)
    traffic = traffic_to(rig, rig.topics.packets, "site")
    for site in traffic.sites:
        platform.give_key(site)
    await platform.start()
    sending = asyncio.create_task(traffic.send(60, pause_s=0.1))
    await rig.until(lambda: len(platform.packets()) > 0)
    await asyncio.to_thread(rig.stack.supervisor.kill, KAFKA)
    await rig.until(lambda: traffic.failures > 0 or retries("kafka") > 0)
    await asyncio.to_thread(rig.stack.supervisor.restart, KAFKA)
    await asyncio.wait_for(sending, 60)
    await all_committed(rig, traffic)
    await rig.until(lambda: len(platform.packets()) >= traffic.count)
    assert set(platform.packets()) == {("ok", "")}
    stored: dict[str, list[bytes]] = {}
    for site_id, identifier in platform.rows(
        "SELECT site_id, packet_id FROM kpi_records ORDER BY height, entry"
    ):
        stored.setdefault(site_id, []).append(identifier)
    assert sorted(stored.values()) == sorted(traffic.ids.values())

    async def published() -> bool:
        messages = await read_observations(rig.connection("analyst", "a"), rig.topics.observations)
        return len({message["tracing_code"] for message in messages}) == traffic.count

    await rig.until(published)
    assert validators.terminate("validator-1") == 0
    await platform.close()
    await validators.close()
    await traffic.producer.close()


async def test_the_platform_waits_for_its_store_and_then_stores_everything_once(
    rig: ChainRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked by another program, then full: the worker retries, counts it, and goes on."""
    monkeypatch.setattr(sql_engine, "BUSY_TIMEOUT_MS", 100)
    platform = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, rig.topics, tmp_path)
    traffic = traffic_to(rig, rig.topics.chain, "validator")
    for site in traffic.sites:
        platform.give_key(site)
    await platform.start()
    await traffic.send(1)
    await rig.until(lambda: len(platform.packets()) == traffic.count)
    count, failed = traffic.count, worker_metrics.WORKER_RETRIES.labels("database")._value
    before = failed.get()
    lock = sqlite3.connect(platform.store_file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    await traffic.send(1)
    await rig.until(lambda: failed.get() >= before + 2)
    lock.execute("ROLLBACK")
    lock.close()
    await rig.until(lambda: len(platform.packets()) == traffic.count)

    @event.listens_for(platform.engine, "begin")
    def full(connection: object) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]

    before = failed.get()
    await traffic.send(1)
    await rig.until(lambda: failed.get() >= before + 2)
    assert len(platform.packets()) < traffic.count
    event.remove(platform.engine, "begin", full)
    platform.engine.dispose()
    await rig.until(lambda: len(platform.packets()) == traffic.count)
    assert count < traffic.count
    assert set(platform.packets()) == {("ok", "")}
    assert await committed_ids(rig) == traffic.ids
    await platform.close()
    await traffic.producer.close()
