"""The API on a real socket: TLS as the settings say, and Avro tools that know nothing of us."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from ops.tls.authority import Authority
from ops.tls.principal import Principal, Role
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.cli.serve import serve_app, server_tls
from pipeline.apps.client_identity import IdentifyingProtocol
from pipeline.config import ApiSettings
from pipeline.core.errors import ConfigError
from pipeline.core.names import site_id_text
from tests.support.api import ApiCase
from tests.support.chain import Chain
from tests.unit.test_platform import Case as PlatformCase
from tests.unit.test_platform import drain

BLOCKS, OBSERVATIONS = "kpi.blocks.v1", "kpi.observations.v1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(case: ApiCase, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve a case's API in a thread; the port."""
    port = free_port()
    tls = None if context is None else (lambda _config, _default: context)
    server = uvicorn.Server(
        uvicorn.Config(
            case.app,
            port=port,
            http=IdentifyingProtocol,
            log_config=None,
            ssl_context_factory=tls,
            lifespan="on",
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def case(tmp_path: Path) -> Iterator[ApiCase]:
    chain = Chain()
    site = chain.world.site(1)
    chain.enrol(site)
    chain.packets(site.packet([1]))
    made = ApiCase(tmp_path / "api", chain)
    made.topic.publish(chain.certified)
    yield made
    made.close()


async def test_an_avro_deserializer_that_knows_nothing_of_us_decodes_a_block_and_an_observation(
    case: ApiCase, tmp_path: Path
) -> None:
    platform = PlatformCase(tmp_path)
    platform.publish()
    await drain(platform.worker())
    with served(case) as port:
        decode = AvroDeserializer(SchemaRegistryClient({"url": f"http://127.0.0.1:{port}"}))
        block = decode(case.topic.values[1], SerializationContext(BLOCKS, MessageField.VALUE))
        sent = platform.producer.sent[0]
        message = decode(sent.value, SerializationContext(OBSERVATIONS, MessageField.VALUE))
    assert block["block"]["header"]["height"] == 2
    assert block["certificate"].startswith(case.chain.world.genesis.origin.encode())
    assert message["site_id"] in {site_id_text(site.name.site_id) for site in platform.sites}
    assert message["observations"][0]["indicator"] == "LOCAL:TRAFFIC_SPEED"


def test_the_served_view_follows_the_topic(case: ApiCase) -> None:
    with served(case) as port:
        while httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code != 200:
            time.sleep(0.01)
        assert httpx.get(f"http://127.0.0.1:{port}/v1/chain").json()["height"] == 2


def credentials(folder: Path) -> tuple[ApiSettings, ssl.SSLContext, ssl.SSLContext]:
    """Settings of a server, a client's context with a certificate, and one without."""
    authority = Authority.create(folder / "ca", now=datetime.now(UTC))
    server = authority.issue(Principal(Role.API, "api"), folder / "api", now=datetime.now(UTC))
    client = authority.issue(Principal(Role.SITE, "site"), folder / "site", now=datetime.now(UTC))
    anonymous = ssl.create_default_context(cafile=str(server.ca))
    known = client_context(TlsFiles(client.ca, client.certificate, client.key))
    return (
        ApiSettings.model_validate(
            {"ca": server.clients, "certificate": server.certificate, "key": server.key}
        ),
        known,
        anonymous,
    )


def test_with_a_ca_clients_need_a_certificate(case: ApiCase, tmp_path: Path) -> None:
    settings, known, anonymous = credentials(tmp_path)
    with served(case, server_tls(settings)) as port:
        url = f"https://127.0.0.1:{port}/health/live"
        assert httpx.get(url, verify=known).json() == {"live": True}
        with pytest.raises(httpx.TransportError):
            httpx.get(url, verify=anonymous)


def test_without_a_ca_any_client_may_come_over_tls(case: ApiCase, tmp_path: Path) -> None:
    settings, _, anonymous = credentials(tmp_path)
    with served(case, server_tls(settings.model_copy(update={"ca": None}))) as port:
        assert httpx.get(f"https://127.0.0.1:{port}/health/live", verify=anonymous).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_there_is_no_plain_http_unless_a_setting_says_insecure(host: str) -> None:
    settings = ApiSettings.model_validate({"host": host})
    with pytest.raises(ConfigError, match=r"insecure_api") as caught:
        server_tls(settings)
    assert caught.value.code == "config.insecure"
    assert server_tls(settings, insecure=True) is None


def test_a_port_in_use_is_named(case: ApiCase) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(ConfigError, match=str(port)):
            serve_app(case.app, "127.0.0.1", port, None)
