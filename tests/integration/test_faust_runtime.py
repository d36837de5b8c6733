"""faust-streaming as the runtime of workers: it starts, consumes and ends on this Kafka under a role's rights."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import faust
import pytest
from faust.types import StreamT

from ops.stack import EmbeddedStack
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import producer

pytestmark = pytest.mark.stack

PATIENCE_S = 60


async def test_a_faust_agent_consumes_and_acknowledges(
    stack: EmbeddedStack, topics: Topics, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    """Records reach the agent over mutual TLS, and a second run begins after the last acknowledged one."""
    group = unique_name("bkdms-assess")
    async with producer(stack, "platform", "p1") as platform:
        for number in range(3):
            await platform.send_and_wait(topics.observations, str(number).encode())
    assert sorted(await consumed(stack, topics, group, tmp_path, wanted=3)) == [0, 1, 2]
    async with producer(stack, "platform", "p1") as platform:
        await platform.send_and_wait(topics.observations, b"3")
    assert await consumed(stack, topics, group, tmp_path, wanted=1) == [3]


async def consumed(
    stack: EmbeddedStack, topics: Topics, group: str, folder: Path, *, wanted: int
) -> list[int]:
    """What an application sees of the observations until it has seen ``wanted`` of them and was stopped."""
    files = stack.credentials("assess", "a1")
    app = faust.App(
        group,
        broker=f"kafka://{stack.kafka_bootstrap}",
        broker_credentials=faust.SSLCredentials(
            context=client_context(TlsFiles(files.ca, files.certificate, files.key))
        ),
        datadir=str(folder),
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        store="memory://",
        consumer_auto_offset_reset="earliest",
    )
    seen: list[int] = []
    enough = asyncio.Event()

    @app.agent(app.topic(topics.observations, value_type=bytes, value_serializer="raw"), concurrency=1)
    async def count(stream: StreamT[bytes]) -> None:
        async for value in stream:
            seen.append(int(value))
            if len(seen) >= wanted:
                enough.set()

    await app.start()
    try:
        await asyncio.wait_for(enough.wait(), PATIENCE_S)
    finally:
        await app.stop()
    return seen
