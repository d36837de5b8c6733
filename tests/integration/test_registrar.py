"""The registrar's commands on a running chain: from a site's request to packets that are admitted."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.adapters.keystore import save_key
from pipeline.apps.keys import key_files, key_vault
from pipeline.config import load_settings
from pipeline.core.keys import Use
from pipeline.core.names import SiteName, parse_site_id
from pipeline.core.sealing import Suite
from pipeline.core.topics import Topics
from pipeline.services.access import read_answer
from pipeline.services.registry_view import RegistryView
from tests.support.nodes import ChainRig, chain_rig, tls
from tests.support.world import TestSite, packet_value

pytestmark = pytest.mark.stack

NAME = SiteName("US", "unlocode:USMES", parse_site_id("fd00::1"))


@dataclass
class Authority:
    """A registrar's machine beside a running chain."""

    rig: ChainRig
    folder: Path

    async def run(self, *arguments: str) -> dict[str, Any]:
        """Run a bkdms command and return the JSON that it prints."""
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "pipeline.apps.cli"),
            *("--config", str(self.folder / "bkdms.toml"), *arguments, "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(program.communicate(), 90)
        assert program.returncode == 0, err.decode()
        result: dict[str, Any] = json.loads(out)
        return result


@pytest.fixture
async def authority(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[Authority]:
    """A chain whose nodes run, and the registrar's settings."""
    async with chain_rig(stack, topics, tmp_path / "nodes") as rig:
        save_key(tmp_path / "registrar.json", rig.world.registrar)
        (tmp_path / "genesis.json").write_bytes(rig.world.genesis.raw)
        files = tls(stack.credentials("registrar", "desk"))
        (tmp_path / "bkdms.toml").write_text(f'''
data_dir = "data"
genesis = "genesis.json"
topic_prefix = "{topics.prefix}"
[kafka]
bootstrap = "{stack.kafka_bootstrap}"
ca = "{files.ca}"
certificate = "{files.certificate}"
key = "{files.key}"
[registrar]
key = "registrar.json"
[site]
country = "{NAME.country}"
city = "{NAME.city}"
site_id = "fd00::1"
''')
        for name in rig.world.node_signers:
            rig.start_node(name)
        yield Authority(rig, tmp_path)


async def test_a_site_is_let_in_and_put_out_by_commands_alone(authority: Authority) -> None:
    """Request, approval, grant, new key and revocation, each over the real command line, Kafka and accounting nodes."""
    rig, folder = authority.rig, authority.folder
    request, answer_file = folder / "r.json", folder / "a.json"
    asked = await authority.run("site", "request", "-o", str(request), "--indicator", "LOCAL:TRAFFIC_SPEED")
    made = await authority.run("registrar", "approve", str(request), "--answer", str(answer_file))
    assert made["site_key"] == asked["site_key"]
    answer = read_answer(answer_file.read_bytes(), rig.world.genesis)
    offer = answer.offer_for(Suite.XWING)
    assert offer is not None
    settings = load_settings(folder / "bkdms.toml")
    platform_key = key_vault(settings).get(offer.key.fingerprint)
    assert platform_key is not None
    signer = key_files(settings).signer(folder / "data" / "site" / "key.json", Use.SITE)
    site = TestSite(NAME, signer, Suite.XWING, rig.world.genesis.chain, platform_key)
    await rig.send([packet_value(site.packet(time_ms=SystemClock().now_ms()))])
    reader = KafkaPartitionReader(rig.connection("registrar", "observer"), rig.topics.blocks)
    view = RegistryView(rig.world.genesis, reader)

    async def is_admitted() -> bool:
        positions = (await view.refresh()).tables.positions
        return NAME in positions and positions[NAME].sequence == 1

    await rig.until(is_admitted)
    await authority.run("registrar", "grant", str(NAME), "--from", "2015-07-01", "--to", "2015-09-30")
    await authority.run("registrar", "offer", str(NAME), "--answer", str(answer_file))
    await authority.run("registrar", "revoke", str(NAME), "--reason", "end of test")
    tables = (await view.refresh()).tables
    await reader.close()
    assert [offer.epoch for offer in tables.offers[NAME]] == [1, 2]
    assert len(tables.grants[NAME]) == 1
    assert not tables.sites[NAME].active
