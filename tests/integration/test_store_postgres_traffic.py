"""PostgreSQL goes away in the middle of traffic, and an operator's commands on a store in it; real Kafka."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from ops.postgres.role_table import DatabaseRole
from ops.stack import EmbeddedStack
from pipeline.adapters.block_folder import block_file
from pipeline.adapters.kafka import IdempotentProducer
from pipeline.adapters.sql.engine import open_engine, open_sqlite, transaction
from pipeline.adapters.sql.platform_tables import PLATFORM
from pipeline.adapters.sql.state_rows import STATE
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.telemetry import metrics as worker_metrics
from tests.support.chain import Chain, framed
from tests.support.commands import bkdms, settings_file
from tests.support.nodes import ChainRig, chain_rig, running_rig
from tests.support.outage_consumers import PlatformRig
from tests.support.outage_topics import read_observations
from tests.support.outage_traffic import Traffic, committed_ids
from tests.support.postgres import Database, RunningPostgres, running_postgres
from tests.support.sql_faults import all_rows

pytestmark = [pytest.mark.stack, pytest.mark.faults]
SITES = 2


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[RunningPostgres]:
    """A server that may be killed without disturbing other tests."""
    with running_postgres(tmp_path / "pg") as running:
        yield running


@pytest.fixture
def store(own_postgres: RunningPostgres) -> Iterator[Database]:
    with own_postgres.database() as made:
        yield made


@pytest.fixture
async def rig(
    stack: EmbeddedStack, unique_name: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[ChainRig]:
    topics = Topics(f"{unique_name('p')}.")
    async with running_rig(stack, topics, tmp_path, SITES) as opened:
        yield opened


@pytest.fixture
def traffic(rig: ChainRig) -> Traffic:
    sites = [rig.world.site(number) for number in range(SITES)]
    return Traffic(sites, rig.topics.chain, IdempotentProducer(rig.connection("validator", "traffic")))


async def platform_on(rig: ChainRig, url: str, folder: Path, traffic: Traffic) -> PlatformRig:
    platform = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, rig.topics, folder, url)
    for site in traffic.sites:
        platform.give_key(site)
    await platform.start()
    return platform


async def test_postgresql_may_be_killed_in_the_middle_of_traffic(
    rig: ChainRig, store: Database, traffic: Traffic, tmp_path: Path
) -> None:
    """The worker waits, goes on by itself, and every packet is stored and handed out; the rows are those of a file."""
    platform = await platform_on(rig, store.url(), tmp_path, traffic)
    sending = asyncio.create_task(traffic.send(30, pause_s=0.1))
    await rig.until(lambda: len(platform.packets()) > 0)
    failed = worker_metrics.WORKER_RETRIES.labels("database")._value
    before = failed.get()
    await asyncio.to_thread(store.running.kill)
    await rig.until(lambda: failed.get() >= before + 2)
    assert platform.is_running
    await asyncio.to_thread(store.running.start)
    await asyncio.wait_for(sending, 60)

    def stored() -> bool:
        return len(platform.packets()) == traffic.count

    await rig.until(stored, 60)
    assert set(platform.packets()) == {("ok", "")}
    assert await committed_ids(rig) == traffic.ids

    async def published() -> bool:
        messages = await read_observations(rig.connection("analyst", "a"), rig.topics.observations)
        return len({message["tracing_code"] for message in messages}) == traffic.count

    await rig.until(published, 60)
    await rig.until(lambda: platform.worker.caught_up)
    await platform.close()
    await traffic.producer.close()
    await same_as_a_file(rig, store, traffic, tmp_path / "file")


async def same_as_a_file(rig: ChainRig, store: Database, traffic: Traffic, folder: Path) -> None:
    """Fill another store from the same topic; compare all rows."""
    platform = await platform_on(rig, "", folder, traffic)
    await rig.until(lambda: platform.worker.caught_up and len(platform.packets()) == traffic.count, 60)
    await platform.close()
    one, other = open_engine(store.url()), open_sqlite(platform.store_file)
    for metadata in (PLATFORM, STATE):
        assert all_rows(one, metadata) == all_rows(other, metadata)
    one.dispose()
    other.dispose()


async def publish(rig: ChainRig, chain: Chain) -> None:
    """Put the certified blocks of a chain on the blocks topic, as nodes would."""
    blocks = [Outgoing(rig.topics.blocks, framed(raw), None, 0) for raw in chain.certified]
    await rig.producer.send(blocks)


async def test_an_operator_audits_traces_and_rebuilds_a_store_in_postgresql(
    stack: EmbeddedStack, topics: Topics, database: Database, tmp_path: Path
) -> None:
    async with chain_rig(stack, topics, tmp_path) as rig:
        chain, site = Chain(rig.world), rig.world.site(1)
        chain.enrol(site)
        for value in range(2):
            chain.packets(site.packet([value, 7]))
        await publish(rig, chain)
        await operate(rig, chain, database, tmp_path)


async def operate(rig: ChainRig, chain: Chain, database: Database, folder: Path) -> None:
    platform = PlatformRig(
        rig.connection("platform", "p"), rig.world.genesis, rig.topics, folder, database.url()
    )
    platform.give_key(rig.world.site(1))
    await platform.start()
    await rig.until(lambda: platform.worker.caught_up and len(platform.packets()) == 2, 60)
    tables: dict[str, dict[str, Any]] = {
        "platform": {"keys_dir": folder / "keys"},
        "store": {"url": database.url()},
    }
    settings = settings_file(rig, folder / "settings", "platform", **tables)
    refused = await bkdms(settings, "ledger", "rebuild", "store")
    assert (refused.code, "in use by the platform worker" in refused.err) == (2, True), refused.err
    await platform.close()
    blocks = folder / "blocks"
    blocks.mkdir()
    for height, raw in enumerate(chain.certified, 1):
        block_file(blocks, height).write_bytes(raw)
    audit = ("verify", f"--blocks={blocks}", "--against-store")
    good = await bkdms(settings, *audit)
    assert good.code == 0, good
    engine = open_engine(database.url())
    with transaction(engine) as connection:
        code = connection.execute(text("SELECT min(tracing_code) FROM kpi_records")).scalar_one()
        connection.execute(
            text("UPDATE observations SET exact = '7' WHERE tracing_code = :code"), {"code": code}
        )
    engine.dispose()
    found = await bkdms(settings, *audit)
    assert (found.code, f"tracing_code={code}" in found.out) == (1, True), found
    rebuilt = await bkdms(settings, "ledger", "rebuild", "store")
    assert rebuilt.code == 0, rebuilt.err
    assert (await bkdms(settings, *audit)).code == 0
    traced = await bkdms(settings, "trace", code, "--json")
    assert (traced.code, '"bytes_match": true' in traced.out) == (0, True), traced
    status = await bkdms(settings, "store", "status")
    assert (status.code, "current" in status.out) == (0, True), status
    with psycopg.connect(database.conninfo(DatabaseRole.READER)) as reader:
        assert reader.execute("SELECT count(*) FROM v_kpi_records").fetchone() == (2,)
