"""``bkdms worker assess`` as its own program, with Faust on a real Kafka, over SQLite and over PostgreSQL."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from sqlalchemy import Engine

from ops.kafka.topic_table import OBSERVATION_PARTITIONS
from ops.ports import reserve
from ops.postgres.role_table import DatabaseRole
from ops.stack import EmbeddedStack
from ops.tls.principal import Role
from pipeline.adapters.kafka import KafkaConnection
from pipeline.adapters.sql.assess_reader import AssessmentReader
from pipeline.adapters.sql.engine import open_engine, open_sqlite
from pipeline.adapters.tls import TlsFiles
from pipeline.core.assess.message import key_bytes, parse_assessment
from pipeline.core.assess.model import Assessment
from pipeline.core.assess.query import Wanted
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import consumer, producer
from tests.support.assessing import PLAN, Assessing
from tests.support.pages import page
from tests.support.postgres import Database
from tests.support.waiting import read_topic

pytestmark = pytest.mark.stack
DEADLINE_S = 60.0
# The real program, but killed in place of its first send.
DIES_BEFORE_SENDING = """
import os, sys
from pipeline.adapters.kafka import IdempotentProducer
IdempotentProducer.send = lambda *_: os._exit(9)
from pipeline.apps.cli import main
main(sys.argv[1:])
"""


class Rig:
    """A store that grows, its messages on a real topic, and the worker's program beside them."""

    def __init__(self, stack: EmbeddedStack, topics: Topics, folder: Path, database: Database | None) -> None:
        self.stack, self.topics, self.folder, self.database = stack, topics, folder, database
        self.case = Assessing(self._engine(), topic=topics.chain)
        self.port = reserve(folder / "ports.json", ["assess"])["assess"]
        self.announced = 0
        (folder / "genesis.json").write_bytes(self.case.chain.world.genesis.raw)
        (folder / "plan.toml").write_text(PLAN)
        if database is not None:
            database.grant()

    def url(self, role: DatabaseRole) -> str:
        """The store's address for a role."""
        return f"sqlite:///{self.folder}/store.sqlite" if self.database is None else self.database.url(role)

    def _engine(self) -> Engine:
        if self.database is None:
            return open_sqlite(self.folder / "store.sqlite")
        return open_engine(self.database.url(DatabaseRole.PLATFORM))

    async def grow(self, *hours: int, times: int = 2) -> None:
        """Store blocks and send what the platform would send, each message so often."""
        await self.case.grow(*hours)
        new = self.case.events.sent[self.announced :]
        self.announced = len(self.case.events.sent)
        async with producer(self.stack, Role.PLATFORM, "test") as client:
            for item in [item for item in new for _ in range(times)]:
                await client.send_and_wait(self.topics.observations, item.value, key=item.key)

    def settings(self) -> Path:
        files = self.stack.credentials(Role.ASSESS, "test")
        path = self.folder / "assess.toml"
        path.write_text(
            f'data_dir = "{self.folder}"\ntopic_prefix = "{self.topics.prefix}"\n'
            f'genesis = "{self.folder}/genesis.json"\n'
            f'[kafka]\nbootstrap = "{self.stack.kafka_bootstrap}"\nca = "{files.ca}"\n'
            f'certificate = "{files.certificate}"\nkey = "{files.key}"\n'
            f'[store]\nurl = "{self.url(DatabaseRole.ASSESS)}"\n[worker]\nmetrics_port = {self.port}\n'
            f'[assess]\nplan = "{self.folder}/plan.toml"\nrest_ms = 10\npoll_ms = 600000\n'
        )
        return path

    @contextmanager
    def worker(self, *program: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the worker; at the end SIGTERM ends it with code 0 if it still runs."""
        arguments = program or ("-m", "pipeline.apps.cli")
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments, "--config", str(self.settings()), "worker", "assess"], stderr=log
            )
        try:
            yield process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0, (self.folder / "log").read_text()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    async def heard(self) -> dict[bytes, Assessment]:
        """What a consumer of the assessments topic knows."""
        files = self.stack.credentials(Role.ANALYST, "test")
        connection = KafkaConnection(
            self.stack.kafka_bootstrap, TlsFiles(files.ca, files.certificate, files.key), "test"
        )
        found: dict[bytes, Assessment] = {}
        for record in await read_topic(connection, self.topics.assessments):
            parsed = None if record.value is None else parse_assessment(record.value)
            assert parsed is not None
            assert record.key is not None
            found[record.key] = parsed
        return found

    def is_assessed(self) -> bool:
        """Whether all blocks are assessed and everything is sent."""
        with self.case.engine.connect() as connection:
            done = connection.exec_driver_sql(
                "SELECT (SELECT height FROM assess_position) = (SELECT max(height) FROM blocks)"
                " AND NOT EXISTS (SELECT 1 FROM assessments_unsent)"
            ).scalar()
        return bool(done)

    def metric(self, name: str) -> float:
        """A figure of the worker's metrics page; 0 while it does not answer."""
        lines = page(self.stack, "test", self.port).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    async def backlog(self) -> int:
        """How many records of the observations topic the worker's group has not acknowledged."""
        group = f"bkdms-assess-{self.case.chain.world.genesis.chain[:8].hex()}"
        async with consumer(
            self.stack, Role.ASSESS, "test", group_id=group, enable_auto_commit=False
        ) as client:
            places = [TopicPartition(self.topics.observations, n) for n in range(OBSERVATION_PARTITIONS)]
            client.assign(places)
            ends = await client.end_offsets(places)
            return sum([end - (await client.committed(at) or 0) for at, end in ends.items()])


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.faults), "postgres"])
def rig(
    stack: EmbeddedStack, topics: Topics, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Rig]:
    database = request.getfixturevalue("database") if request.param == "postgres" else None
    made = Rig(stack, topics, tmp_path, database)
    yield made
    made.case.engine.dispose()


async def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        await asyncio.sleep(0.05)


@pytest.mark.faults
async def test_doubled_messages_and_death_between_store_and_send_leave_what_the_store_says(rig: Rig) -> None:
    await rig.grow(0, 1)
    with rig.worker("-c", DIES_BEFORE_SENDING) as process:
        assert process.wait(DEADLINE_S) == 9, (rig.folder / "log").read_text()
    assert not rig.is_assessed()
    assert rig.case.rows()["assessments_unsent"]
    with rig.worker() as process:
        await until(rig.is_assessed, process, rig.folder)
        await rig.grow(1, 30)
        await until(rig.is_assessed, process, rig.folder)
        process.kill()
        process.wait()
    await rig.grow(2, 30)
    with rig.worker() as process:
        await until(rig.is_assessed, process, rig.folder)
        before = rig.case.rows()
        # Everything that was sent before once more: nothing changes, and it is acknowledged.
        rig.announced = 0
        await rig.grow()
        again = 2 * len(rig.case.events.sent)
        await until(lambda: rig.metric("bkdms_assess_events_total{") >= again, process, rig.folder)
        assert rig.metric('bkdms_assess_events_total{outcome="repeated"}') > 0
        assert rig.metric("bkdms_assess_lag_blocks") == 0
    assert await rig.backlog() == 0
    assert rig.case.rows() == before
    expected = rig.case.expected()
    assert await rig.heard() == expected
    served = AssessmentReader(rig.url(DatabaseRole.API)).page(Wanted(), None, 1000)
    assert {key_bytes(item.key): item for item in served} == expected


async def test_a_worker_that_comes_before_the_store_and_after_retention_misses_nothing(
    stack: EmbeddedStack, topics: Topics, tmp_path: Path
) -> None:
    rig = Rig(stack, topics, tmp_path, None)
    hidden = (tmp_path / "store.sqlite").rename(tmp_path / "hidden.sqlite")
    rig.case.engine.dispose()
    with rig.worker() as process:
        await until(lambda: rig.metric('bkdms_worker_retries_total{code="no_store"}') > 0, process, tmp_path)
        hidden.rename(tmp_path / "store.sqlite")
        await rig.case.grow(0, 1)  # stored, and never announced
        await until(rig.is_assessed, process, tmp_path)
    assert await rig.heard() == rig.case.expected()
    rig.case.engine.dispose()
