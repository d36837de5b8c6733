"""``bkdms attach`` beside a running stack: real clients read what was granted with the files of the folder alone."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka import Consumer, KafkaError, KafkaException

from ops.stack import EmbeddedStack
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.cli import main
from pipeline.apps.local.settings_file import write_settings
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import producer
from tests.support.clean_env import clean_env
from tests.support.observed import observed_values
from tests.support.world import World

__all__ = ["clean_env"]
pytestmark = pytest.mark.stack
PATIENCE_S = 30.0


@pytest.fixture
def data_dir(stack: EmbeddedStack, topics: Topics) -> Iterator[Path]:
    """The stack's data folder with the settings file that `bkdms up` writes there."""
    genesis = stack.data_dir / "genesis.json"
    genesis.write_bytes(World(topic=topics.chain).genesis.raw)
    kafka = {"bootstrap": stack.kafka_bootstrap}
    file = write_settings(
        stack.data_dir / "bkdms.toml", {"topic_prefix": topics.prefix, "genesis": genesis, "kafka": kafka}
    )
    yield stack.data_dir
    file.unlink()


def attach(data_dir: Path, name: str, *arguments: str) -> None:
    with suppress(SystemExit):
        main(["attach", "--name", name, *arguments, "--data-dir", str(data_dir)])


def properties(folder: Path) -> dict[str, str]:
    """The settings of a librdkafka client, as its file in the folder has them."""
    lines = (folder / "librdkafka.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def poll(consumer: Consumer) -> Any:
    """The next record, or the first lasting error."""
    for _ in range(int(PATIENCE_S)):
        message = consumer.poll(1.0)
        error = None if message is None else message.error()
        if message is not None and (error is None or not error.retriable()):
            return message
    raise AssertionError("nothing came")


async def send(stack: EmbeddedStack, topics: Topics, *values: bytes) -> None:
    async with producer(stack, "platform", "p1") as platform:
        for value in values:
            await platform.send_and_wait(topics.observations, value, key=b"site", partition=0)


async def test_a_client_reads_with_the_folder_s_files_until_it_is_revoked(
    clean_env: Path, stack: EmbeddedStack, data_dir: Path, topics: Topics, unique_name: Any
) -> None:
    name = unique_name("c")
    first, second, third = observed_values(3)
    attach(data_dir, name, "--topics", "observations,blocks", "-o", "client")
    os.chdir("client")  # the folder's paths are relative to it
    await send(stack, topics, first)
    consumer = Consumer(properties(Path()))
    try:
        consumer.subscribe([topics.observations])
        assert (await asyncio.to_thread(poll, consumer)).value() == first
        await asyncio.to_thread(attach, data_dir, name, "--revoke")
        await send(stack, topics, second)
        refused = await asyncio.to_thread(poll, consumer)
        if refused.error() is None:
            # A fetch that waited at Kafka when the right went is answered, once.
            assert refused.value() == second
            await send(stack, topics, third)
            refused = await asyncio.to_thread(poll, consumer)
        assert refused.error() is not None
        assert refused.error().code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        )
    finally:
        with suppress(KafkaException):
            consumer.close()


async def test_what_was_not_named_is_refused(
    clean_env: Path, stack: EmbeddedStack, data_dir: Path, topics: Topics, unique_name: Any
) -> None:
    attach(data_dir, unique_name("c"), "--topics", "blocks", "-o", "client")
    os.chdir("client")
    for settings, topic in (
        (properties(Path()), topics.observations),
        (properties(Path()) | {"group.id": "bkdms-client-other"}, topics.blocks),
    ):
        consumer = Consumer(settings)
        consumer.subscribe([topic])
        message = await asyncio.to_thread(poll, consumer)
        assert message.error() is not None, topic
        consumer.close()
    async with producer_of(stack, Path()) as own:
        with pytest.raises(TopicAuthorizationFailedError):
            await own.send_and_wait(topics.blocks, b"forged")


def producer_of(stack: EmbeddedStack, folder: Path) -> Any:
    """A producer with the certificate of a client's folder."""
    tls = TlsFiles(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
    return AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap, security_protocol="SSL", ssl_context=client_context(tls)
    )


def test_a_name_is_attached_once_renewed_when_asked_and_never_again_after_revocation(
    clean_env: Path, data_dir: Path, topics: Topics, unique_name: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name = unique_name("c")
    attach(data_dir, name, "--topics", "observations", "-o", "one", "--json")
    made = json.loads(capsys.readouterr().out)
    assert made["topics"] == [topics.observations]
    assert made["group"] == f"bkdms-client-{name}"
    attach(data_dir, name, "--topics", "blocks", "-o", "two")
    assert "attached already" in capsys.readouterr().err
    attach(data_dir, name, "--topics", "blocks", "-o", "two", "--renew")
    capsys.readouterr()
    with suppress(SystemExit):
        main(["attach", "--list", "--json", "--data-dir", str(data_dir)])
    assert json.loads(capsys.readouterr().out)[f"client:{name}"] == [topics.blocks]
    attach(data_dir, name, "--revoke", "--json")
    assert json.loads(capsys.readouterr().out)["revoked"] == [topics.blocks]
    attach(data_dir, name, "--topics", "blocks", "-o", "three", "--renew")
    assert "was revoked" in capsys.readouterr().err
    assert not Path("three").exists()


def test_the_folder_is_private(clean_env: Path, data_dir: Path, unique_name: Any) -> None:
    attach(data_dir, unique_name("c"), "--topics", "blocks", "-o", "client")
    assert Path("client").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in Path("client").iterdir()} == {0o600}


async def test_tail_shows_what_the_client_may_read_and_says_how_to_get_the_rest(
    clean_env: Path, stack: EmbeddedStack, data_dir: Path, topics: Topics, unique_name: Any
) -> None:
    attach(data_dir, unique_name("c"), "--topics", "observations", "-o", "client")
    await send(stack, topics, *observed_values(3))

    def tail(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline.apps.cli", "--config", "client/bkdms.toml", "tail", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    condition = "value > 1.5 and kafka.partition == 0"
    good = await asyncio.to_thread(tail, "observations", "--json", "--where", condition)
    assert good.returncode == 0, good.stderr
    rows = [json.loads(line) for line in good.stdout.splitlines()]
    assert [row["value"] for row in rows] == [2.0, 3.0]
    bad = await asyncio.to_thread(tail, "blocks")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert f"bkdms attach --name NAME --topics {topics.blocks}" in bad.stderr
    assert bad.stderr.count("\n") == 1
