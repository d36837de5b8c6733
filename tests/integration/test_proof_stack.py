"""A portable proof of a packet that went through a real Kafka and real nodes, by the commands alone, over HTTP."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.keystore import SealingKeyFolder, save_key
from pipeline.core.policy_file import policy_text
from pipeline.core.topics import Topics
from pipeline.core.tracing import TracingCode
from tests.support.commands import bkdms, settings_file
from tests.support.nodes import chain_rig
from tests.support.world import control_value, packet_value
from tests.unit.test_proof_vectors import CHECK
from tests.unit.test_serve import free_port

pytestmark = pytest.mark.stack
DEADLINE_S = 60


@asynccontextmanager
async def serving(settings: Path, url: str) -> AsyncIterator[None]:
    """Run ``bkdms serve`` while in here."""
    argv = ("-m", "pipeline.apps.cli", "--config", str(settings), "serve")
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(DEADLINE_S), httpx.AsyncClient() as client:
            while not await answers(client, f"{url}/tiles/checkpoint"):
                assert process.returncode is None
                await asyncio.sleep(0.1)
        yield
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert await process.wait() == 0


async def answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def test_a_packet_of_a_running_ledger_is_proved_by_the_commands(
    stack: EmbeddedStack, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    topics = Topics(f"{unique_name('proof')}.")
    stack.add_topics(topics)
    async with chain_rig(stack, topics, tmp_path / "rig") as rig:
        for name in rig.world.node_signers:
            rig.start_node(name)
        await rig.send([control_value(raw) for raw in rig.world.enrolment(rig.site)])
        await rig.until_published(1)
        packet = rig.site.packet([7, 8, 9], time_ms=SystemClock().now_ms())
        await rig.send([packet_value(packet)])
        await rig.until_published(2)
        folder, log_key = tmp_path / "program", tmp_path / "log.json"
        save_key(log_key, rig.world.log_signer)
        SealingKeyFolder(tmp_path / "keys").add(rig.site.platform_key)
        exporter = settings_file(rig, folder, "exporter", export={"key": log_key})
        exported = await bkdms(exporter, "export", "tiles", str(tmp_path / "log"))
        assert exported.code == 0, exported.err
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        plain: dict[str, Any] = {"transport": {"insecure_api": True}}
        log = {"folder": tmp_path / "log"}
        server = settings_file(rig, folder, "api", api={"port": port}, export=log, **plain)
        keys = {"keys_dir": tmp_path / "keys"}
        user = settings_file(rig, folder, "auditor", api={"url": url}, platform=keys, **plain)
        policy, file = tmp_path / "policy.txt", tmp_path / "value.tlog-proof"
        policy.write_text(policy_text(rig.world.genesis))
        code = str(TracingCode(rig.world.genesis.chain[:5], 2, 0))
        async with serving(server, url):
            made = await bkdms(user, "prove", code, "-o", str(file), "--disclose", "1")
        assert made.code == 0, made.err
        checked = await bkdms(user, "check-proof", str(file), "--policy", str(policy), "--json")
        facts = json.loads(checked.out)
        assert (checked.code, facts["tracing_code"]) == (0, code)
        assert [value["exact"] for record in facts["disclosed"] for value in record["values"]] == ["0.08"]
        assert CHECK(policy.read_bytes(), file.read_bytes())
