"""The platform worker, the API, trace and verify as their own programs, on a real Kafka."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from ops.ports import reserve
from ops.stack import EmbeddedStack
from ops.tls.principal import Role
from ops.tls.site_principal import site_principal
from pipeline.adapters.keystore import SealingKeyFolder
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.core.names import site_id_text
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.site_head import SiteHeadDocument, parse_site_head
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import consumer, producer
from tests.support.chain import Chain, framed
from tests.support.pages import page
from tests.support.world import TestSite, World

pytestmark = pytest.mark.stack
DEADLINE_S = 60.0
PACKETS = 6


class Rig:
    """A chain on topics of its own, and settings for programs that consume it."""

    def __init__(self, stack: EmbeddedStack, topics: Topics, folder: Path) -> None:
        self.stack, self.topics, self.folder = stack, topics, folder
        self.chain = Chain(World(topic=topics.chain))
        self.site: TestSite = self.chain.world.site(1)
        self.chain.enrol(self.site)
        self.sent: list[bytes] = []
        self.grow()
        self.genesis = folder / "genesis.json"
        self.genesis.write_bytes(self.chain.world.genesis.raw)
        self.store = folder / "store.sqlite"
        self.ports = reserve(folder / "ports.json", ["platform", "api"])
        SealingKeyFolder(folder / "keys").add(self.site.platform_key)
        self._published = 0

    def grow(self) -> None:
        """Close one block per packet."""
        for value in range(PACKETS):
            self.sent.append(self.site.packet([value, 100 + value]))
            self.chain.packets(self.sent[-1])

    async def publish(self) -> None:
        """Put the blocks that are new on the topic."""
        values = [framed(certified) for certified in self.chain.certified]
        async with producer(self.stack, Role.NODE, "node-0") as client:
            for value in values[self._published :]:
                await client.send_and_wait(self.topics.blocks, value, partition=0)
        self._published = len(values)

    def settings(self, role: Role) -> Path:
        """The settings file of a program with the certificate of a role."""
        files = self.stack.credentials(role, "consumer-test")
        tls = f'ca = "{files.ca}"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
        path = self.folder / f"{role}.toml"
        path.write_text(
            f'data_dir = "{self.folder}"\ntopic_prefix = "{self.topics.prefix}"\ngenesis = "{self.genesis}"\n'
            f'[kafka]\nbootstrap = "{self.stack.kafka_bootstrap}"\n{tls}'
            f'[store]\nurl = "sqlite:///{self.store}"\n[platform]\nkeys_dir = "{self.folder / "keys"}"\n'
            f"[worker]\nmetrics_port = {self.ports['platform']}\n[api]\nport = {self.ports['api']}\n"
            + (tls.replace(str(files.ca), str(files.clients)) if role is Role.API else "")
        )
        return path

    def command(self, role: Role, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pipeline.apps.cli", "--config", str(self.settings(role)), *arguments]

    @contextmanager
    def program(self, role: Role, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command until the end of the block, and see that SIGTERM ends it cleanly."""
        process = subprocess.Popen(self.command(role, *arguments), stderr=subprocess.PIPE, text=True)
        try:
            yield process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
            assert process.returncode in {0, -signal.SIGKILL}, errors
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def run(self, role: Role, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(role, *arguments), capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if not self.store.exists():
            return []
        with sqlite3.connect(self.store) as connection:
            try:
                return connection.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []


@pytest.fixture
async def rig(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(stack, topics, tmp_path)
    await made.publish()
    yield made


async def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def observations(rig: Rig, count: int) -> list[bytes]:
    """Values of the observations topic, at least so many."""
    found: list[bytes] = []
    async with consumer(rig.stack, Role.ANALYST, "test", rig.topics.observations) as client:
        deadline = time.monotonic() + DEADLINE_S
        while len(found) < count:
            assert time.monotonic() < deadline, found
            for records in (await client.getmany(timeout_ms=500)).values():
                found.extend(record.value for record in records)
    return found


@pytest.mark.faults
async def test_every_value_is_stored_and_published_once_although_the_worker_is_killed(rig: Rig) -> None:
    def stored() -> int:
        return len(rig.rows("SELECT tracing_code FROM kpi_records"))

    with rig.program(Role.PLATFORM, "worker", "platform") as process:
        await until(lambda: stored() > 0, process)
        process.kill()
        process.wait()
    rig.grow()
    await rig.publish()
    with rig.program(Role.PLATFORM, "worker", "platform") as process:
        await until(lambda: stored() == 2 * PACKETS, process)
        values = await observations(rig, 2 * PACKETS)
        health = page(rig.stack, "consumer-test", rig.ports["platform"], "/health/ready")
        metrics = page(rig.stack, "consumer-test", rig.ports["platform"])
    assert health
    assert f"bkdms_platform_stored_height {float(2 * PACKETS + 1)}" in metrics
    exact = [row[0] for row in rig.rows("SELECT exact FROM observations")]
    assert sorted(exact) == sorted(2 * [f"{v / 100:.2f}" for i in range(PACKETS) for v in (i, 100 + i)])
    assert len(set(values)) == 2 * PACKETS


async def test_the_api_gives_heads_that_sites_can_verify_and_schemas_that_tools_can_use(
    rig: Rig, tmp_path: Path
) -> None:
    files = rig.stack.credentials(Role.SITE, site_principal(rig.site.name).name)
    context = client_context(TlsFiles(files.ca, files.certificate, files.key))
    name, url = rig.site.name, f"https://127.0.0.1:{rig.ports['api']}"

    def is_ready() -> bool:
        try:
            answer = httpx.get(f"{url}/health/ready", verify=context)
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and answer.json()["height"] == PACKETS + 1

    with rig.program(Role.API, "serve") as process:
        await until(is_ready, process)
        place = f"{url}/v1/sites/{name.country}/{name.city}/{site_id_text(name.site_id)}/head"
        document = parse_site_head(httpx.get(place, verify=context).content)
        registry = SchemaRegistryClient(
            {
                "url": url,
                "ssl.ca.location": str(files.ca),
                "ssl.certificate.location": str(files.certificate),
                "ssl.key.location": str(files.key),
            }
        )
        async with consumer(rig.stack, Role.AUDITOR, "test", rig.topics.blocks) as client:
            record = await client.getone()
        block = AvroDeserializer(registry)(
            record.value, SerializationContext(rig.topics.blocks, MessageField.VALUE)
        )
    assert isinstance(document, SiteHeadDocument)
    assert isinstance(verify_head(rig.chain.world.genesis, rig.sent[-1], document), Receipt)
    assert block["block"]["header"]["chain_id"] == rig.chain.world.genesis.url


async def test_trace_and_verify_tell_the_truth_as_json(rig: Rig) -> None:
    with rig.program(Role.PLATFORM, "worker", "platform") as process:
        await until(lambda: len(rig.rows("SELECT * FROM kpi_records")) == PACKETS, process)
    (code,) = rig.rows("SELECT tracing_code FROM kpi_records WHERE height = 3")[0]
    traced = await asyncio.to_thread(rig.run, Role.PLATFORM, "trace", code, "--json")
    assert traced.returncode == 0, traced.stderr
    found = json.loads(traced.stdout)
    assert (found["value"], found["bytes_match"], found["height"]) == ("0.01", True, 3)
    audited = await asyncio.to_thread(rig.run, Role.AUDITOR, "verify", "--json")
    assert audited.returncode == 0, audited.stderr
    assert json.loads(audited.stdout)["blocks"] == PACKETS + 1


async def test_verify_holds_the_store_and_what_was_kept_against_the_topic(rig: Rig, tmp_path: Path) -> None:
    with rig.program(Role.PLATFORM, "worker", "platform") as process:
        await until(lambda: len(rig.rows("SELECT * FROM kpi_records")) == PACKETS, process)
    kept = tmp_path / "kept"
    kept.write_bytes(rig.chain.world.certificate(rig.chain.blocks[3].checkpoint))
    arguments = ("verify", "--trusted", str(kept), "--against-store", "--json")
    good = await asyncio.to_thread(rig.run, Role.AUDITOR, *arguments)
    assert good.returncode == 0, good.stderr
    found = json.loads(good.stdout)
    assert [item["agrees"] for item in found["anchors"]] == [True]
    assert (found["store"]["height"], found["store"]["packets"]) == (PACKETS + 1, PACKETS)
    with sqlite3.connect(rig.store) as connection:
        connection.execute("UPDATE observations SET exact = '9.99' WHERE exact = '0.02'")
        connection.execute("UPDATE blocks SET kafka_offset = 99 WHERE height = 4")
    bad = await asyncio.to_thread(rig.run, Role.AUDITOR, *arguments)
    assert bad.returncode == 1, bad.stderr
    problems = json.loads(bad.stdout)["store"]["findings"]
    assert [(item["table"], item["columns"]) for item in problems] == [
        ("blocks", ["kafka_offset"]),
        ("observations", ["exact"]),
    ]


async def test_verify_of_a_folder_needs_no_kafka_and_names_a_flipped_byte(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "blocks"
    folder.mkdir()
    for height, data in enumerate(rig.chain.certified, 1):
        (folder / f"{height:08d}.block").write_bytes(data)
    arguments = ("verify", "--blocks", str(folder), "--genesis", str(rig.genesis))
    good = await asyncio.to_thread(rig.run, Role.AUDITOR, *arguments)
    assert good.returncode == 0, good.stderr
    victim = folder / "00000004.block"
    copy = bytearray(victim.read_bytes())
    copy[len(copy) // 3] ^= 1
    victim.write_bytes(copy)
    bad = await asyncio.to_thread(rig.run, Role.AUDITOR, *arguments)
    assert bad.returncode == 1
    assert "00000004.block" in bad.stdout
    assert "Traceback" not in bad.stderr
