"""docker-compose.yml's services, started with their very commands and environments, without containers.

Grafana alone is left out: there is no package of it to be had.
"""

import json
import socket
import ssl
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ops.postgres.role_table import DatabaseRole
from ops.postgres.server import address_at
from ops.redis.server import find_program
from ops.tls.authority import CertificateFiles
from pipeline.adapters.vault import VAULT_FILE, WRAPPED_SUFFIX
from pipeline.apps.provision.files import write_files
from pipeline.apps.provision.plan import read_plan
from tests.support import compose
from tests.support.native_compose import NativeDeployment

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
EVERY = compose.services()
LEFT_OUT = ("grafana", "desk")
STAYING = [
    name for name in compose.in_order(EVERY) if name not in LEFT_OUT and not compose.runs_once(EVERY[name])
]
ROWS = len((compose.ROOT / "connectors/samples/river_water-flow.csv").read_text().splitlines()) - 1
DEADLINE_S = 90
# SIGTERM ends a JVM with its number.
ENDS = (0, 143)


@pytest.fixture(scope="module")
def deployment() -> Iterator[NativeDeployment]:
    """Everything up, the sample site too."""
    assert find_program().has_tls, "these tests need a redis-server with TLS: apt-get install redis-server"
    with tempfile.TemporaryDirectory(prefix="bkdms-compose-") as folder:
        made = NativeDeployment(Path(folder))
        try:
            made.up([name for name in compose.in_order(EVERY) if name not in LEFT_OUT])
            yield made
        finally:
            made.close()


@pytest.mark.parametrize("name", STAYING)
def test_a_running_service_is_healthy(deployment: NativeDeployment, name: str) -> None:
    deployment.await_health(name)


def test_what_the_sample_site_measured_reaches_an_analyst(deployment: NativeDeployment) -> None:
    """Grafana's certificate reads every row of the file from PostgreSQL."""
    folder = deployment.config("grafana")
    files = CertificateFiles(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
    port = deployment.ports["postgres", 5432]
    where = address_at("localhost", port, DatabaseRole.READER, "bkdms", files)
    deadline, found = time.monotonic() + DEADLINE_S, 0
    while found < ROWS and time.monotonic() < deadline:
        with psycopg.connect(where) as connection:
            row = connection.execute("SELECT count(*) FROM v_observations").fetchone()
        found = row[0] if row else 0
        time.sleep(0.5)
    assert found == ROWS


def test_prometheus_reaches_every_program(deployment: NativeDeployment) -> None:
    deadline, down = time.monotonic() + DEADLINE_S, {"all"}
    while down and time.monotonic() < deadline:
        url = f"http://127.0.0.1:{deployment.ports['prometheus', 9090]}/api/v1/targets"
        with urllib.request.urlopen(url, timeout=5) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        down = {one["labels"]["instance"] for one in targets if one["health"] != "up"}
        time.sleep(0.5)
    assert not down
    assert {one["labels"]["instance"] for one in targets} == {
        name for name in STAYING if "build" in EVERY[name]
    }


@pytest.mark.parametrize(
    ("name", "port"), [("kafka", 9092), ("kafka", 29092), ("redis", 6379), ("api", 8480)]
)
def test_who_shows_no_certificate_gets_no_answer(deployment: NativeDeployment, name: str, port: int) -> None:
    host = "localhost" if port == 29092 else name
    context = ssl.create_default_context(cafile=str(deployment.config("admin") / "ca.pem"))
    address = "localhost", deployment.ports[host, port]
    # What is received is the refusal, or the end.
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection(address, 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as channel,
    ):
        channel.sendall(b"PING\r\n\r\n")
        if not channel.recv(100):
            raise ConnectionResetError


def test_postgres_hears_nobody_without_tls(deployment: NativeDeployment) -> None:
    port = deployment.ports["postgres", 5432]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(f"host=127.0.0.1 port={port} user=bkdms_platform dbname=bkdms sslmode=disable")


def test_what_was_made_ready_is_made_ready_again_without_change(deployment: NativeDeployment) -> None:
    """As every later start does, here beside what runs."""
    for name in ("servers", "sample-request", "sample-approve"):
        deployment.run_once(name)
    folder = deployment.folder / "deployment"
    before = {path: path.read_bytes() for path in folder.rglob("*.pem")}
    said = deployment.run_once("files")
    assert {path: path.read_bytes() for path in folder.rglob("*.pem")} == before
    # Nothing but what this test gave PostgreSQL other paths in.
    assert said.splitlines()[:-1] in ([], ["postgres/postgresql.conf"])


def test_nothing_was_written_where_containers_may_only_read(
    deployment: NativeDeployment, tmp_path: Path
) -> None:
    """Beside what was made ready there is the registrar's journal alone, and its keys for the platform."""
    made = write_files(read_plan(compose.PLAN), tmp_path / "again", now=datetime.now(UTC)).root
    folder = deployment.folder / "deployment"
    there, expected = (
        {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()} for top in (folder, made)
    )
    assert expected <= there
    assert {name.partition("/")[0] for name in there - expected} == {"desk"}
    kept = {path.name for path in (deployment.folder / "state" / "platform-keys").iterdir()}
    wrapped = {name for name in kept if name.endswith(WRAPPED_SUFFIX)}
    assert wrapped
    assert kept - wrapped == {VAULT_FILE, "lock"}


def test_a_service_that_was_stopped_is_not_healthy(deployment: NativeDeployment) -> None:
    """Each ends by itself when it is told to, in the order in which an engine stops them."""
    for name in reversed(STAYING):
        assert deployment.stop(name) in ENDS, name
        assert not deployment.is_healthy(name), name
