"""Kafka's own console consumer and Kafka Connect read with the folder of `bkdms attach` as its README says."""

import asyncio
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ops.kafka.distribution import KAFKA_HOME_VARIABLE, cache_folder, find_java, kafka_version
from ops.stack import EmbeddedStack
from pipeline.apps.cli import main
from pipeline.apps.local.settings_file import write_settings
from tests.integration.kafka_clients import producer
from tests.support.attached import program
from tests.support.observed import observed_values
from tests.support.world import World

pytestmark = pytest.mark.judges
POM = Path(__file__).parent / "java" / "pom.xml"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
BUILD_TIMEOUT_S = 900
DEADLINE_S = 120
CONNECT_S = 150
TOPIC = "kpi.observations.v1"
RECORDS = 3
CONSOLE = "org.apache.kafka.tools.consumer.ConsoleConsumer"
CONNECT = "org.apache.kafka.connect.cli.ConnectStandalone"


@pytest.fixture(scope="module")
def java() -> list[str]:
    """The command line up to the main class, with the jars of Kafka's tools and of Connect."""
    home = os.environ.get(KAFKA_HOME_VARIABLE)
    libs = Path(home) / "libs" if home else cache_folder() / "judges" / f"kafka-tools-{kafka_version()}"
    if not libs.is_dir():
        draft = libs.with_name(f"{libs.name}-{os.getpid()}")
        maven = [
            shutil.which("mvn") or "mvn",
            "-B",
            "-q",
            "-f",
            str(POM),
            f"-Dkafka.version={kafka_version()}",
        ]
        copy = [COPY, f"-DoutputDirectory={draft}", "-DincludeScope=runtime"]
        subprocess.run([*maven, *copy], check=True, timeout=BUILD_TIMEOUT_S)
        draft.rename(libs)
    return [str(find_java()), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{libs}/*"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A client's folder beside a running Kafka with some observations."""
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), is_short_lived=True) as stack:
        genesis = stack.data_dir / "genesis.json"
        genesis.write_bytes(World().genesis.raw)
        kafka = {"bootstrap": stack.kafka_bootstrap}
        api = {"url": "https://127.0.0.1:1"}
        write_settings(stack.data_dir / "bkdms.toml", {"genesis": genesis, "kafka": kafka, "api": api})
        asyncio.run(_send(stack))
        folder = stack.data_dir / "client"
        with suppress(SystemExit):
            arguments = ["--topics", "observations", "-o", str(folder), "--data-dir", str(stack.data_dir)]
            main(["attach", "--name", "java", *arguments])
        yield folder


async def _send(stack: EmbeddedStack) -> None:
    async with producer(stack, "platform", "p1") as platform:
        for value in observed_values(RECORDS):
            await platform.send_and_wait(TOPIC, value, partition=0)


def test_the_console_consumer_reads_as_the_readme_says(java: list[str], client: Path) -> None:
    readme = (client / "README.md").read_text()
    command = next(line for line in readme.splitlines() if "kafka-console-consumer.sh" in line)
    arguments = shlex.split(command.split("`")[3])[1:]
    ends = ["--from-beginning", "--max-messages", str(RECORDS), "--timeout-ms", "60000"]
    done = subprocess.run(
        [*java, CONSOLE, *arguments, *ends], cwd=client, capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"LOCAL:TRAFFIC_SPEED") == RECORDS
    assert done.stdout.startswith(b"\0\0\0\0\x0c")


def test_connect_runs_a_sink_in_the_client_s_group(java: list[str], client: Path) -> None:
    sink = (client / "connect-sink.properties").read_text().splitlines()
    own = [line for line in sink if not line.startswith("value.converter")]
    assert len(own) < len(sink)
    (client / "bytes-sink.properties").write_text(
        "\n".join([*own, "consumer.override.group.id=bkdms-client-java:connect"]) + "\n"
    )
    out = client / "records.out"
    # Else it looks through every jar for plug-ins first.
    worker = (client / "connect-worker.properties").read_text() + "plugin.discovery=service_load\n"
    (client / "worker.properties").write_text(worker)
    with program([*java, CONNECT, "worker.properties", "bytes-sink.properties"], client) as said:
        said.until(lambda _: out.exists() and len(out.read_text().splitlines()) >= RECORDS, CONNECT_S)
    assert len(out.read_text().splitlines()) == RECORDS
