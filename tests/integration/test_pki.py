"""``bkdms pki issue`` beside a running stack: the certificate opens what its role may, and nothing more."""

import asyncio
import json
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from cryptography import x509

from ops.stack import EmbeddedStack
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.cli import main
from pipeline.apps.local.settings_file import write_settings
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import producer
from tests.support.clean_env import clean_env

__all__ = ["clean_env"]

pytestmark = pytest.mark.stack

PATIENCE_S = 30
API_URL = "https://127.0.0.1:1"


@pytest.fixture
def data_dir(stack: EmbeddedStack, topics: Topics) -> Iterator[Path]:
    """The stack's data folder with the settings file that `bkdms up` writes there."""
    kafka = {"bootstrap": stack.kafka_bootstrap}
    tables = {"topic_prefix": topics.prefix, "kafka": kafka, "api": {"url": API_URL}}
    file = write_settings(stack.data_dir / "bkdms.toml", tables)
    yield stack.data_dir
    file.unlink()


def issue(data_dir: Path, *arguments: str) -> None:
    with suppress(SystemExit):
        main(["pki", "issue", *arguments, "--data-dir", str(data_dir)])


def client(table: dict[str, Any]) -> dict[str, Any]:
    """The settings of an aiokafka client as a table `[kafka]` has them."""
    files = TlsFiles(Path(table["ca"]), Path(table["certificate"]), Path(table["key"]))
    return {
        "bootstrap_servers": table["bootstrap"],
        "security_protocol": "SSL",
        "ssl_context": client_context(files),
    }


async def test_an_analyst_reads_observations_with_what_is_printed_and_writes_none(
    clean_env: Path,
    stack: EmbeddedStack,
    data_dir: Path,
    topics: Topics,
    capsys: pytest.CaptureFixture[str],
) -> None:
    issue(data_dir, "analyst", "maria", "-o", "maria")
    printed = tomllib.loads(capsys.readouterr().out)
    assert printed["api"]["url"] == API_URL
    async with producer(stack, "platform", "p1") as platform:
        await platform.send_and_wait(topics.observations, b"value")
    settings = client(printed["kafka"])
    async with AIOKafkaConsumer(
        topics.observations, group_id="bkdms-analyst-maria", auto_offset_reset="earliest", **settings
    ) as consumer:
        record = await asyncio.wait_for(consumer.getone(), PATIENCE_S)
    assert record.value == b"value"
    async with AIOKafkaProducer(**settings) as own:
        with pytest.raises(TopicAuthorizationFailedError):
            await own.send_and_wait(topics.observations, b"forged")


def test_the_key_is_private_and_in_the_folder_alone(
    clean_env: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    issue(data_dir, "site", "bridge-17", "-o", "bridge-17", "--json")
    assert json.loads(capsys.readouterr().out)["principal"] == "site:bridge-17"
    folder = Path("bridge-17")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in folder.iterdir()} == {"ca.pem", "certificate.pem", "key.pem"}
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert not (data_dir / "pki" / "site" / "bridge-17").exists()


def test_renewing_replaces_key_and_certificate(
    clean_env: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (_issued_again(data_dir) for _ in range(2))
    assert first.subject == second.subject
    assert first.public_key() != second.public_key()


def _issued_again(data_dir: Path) -> x509.Certificate:
    issue(data_dir, "auditor", "a", "-o", "auditor", "--renew")
    return x509.load_pem_x509_certificate(Path("auditor/certificate.pem").read_bytes())
