"""Certificates on running servers: told apart, renewed without losing a record, taken back from open connections."""

import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree

import psycopg
import pytest
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ops.kafka import broker
from ops.kafka.admin import KafkaAdmin, bindings_of
from ops.postgres import live as postgres_live
from ops.postgres import server as postgres_server
from ops.postgres.role_table import DatabaseRole
from ops.redis import server
from ops.revocation import IRREVOCABLE, revoke
from ops.stack import POSTGRES_SERVER, REDIS_SERVER, EmbeddedStack
from ops.tls.authority import LEAF_LIFETIME, Authority, CertificateFiles
from ops.tls.holders import certificate_folder
from ops.tls.principal import Principal, Role
from ops.tls.profile import Branch, Life, SigningAuthority, leaf_certificate
from ops.tls.request import pem, pem_key
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.core.errors import ConfigError
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import consumer, producer
from tests.support.postgres import Database, RunningPostgres

pytestmark = pytest.mark.stack

# A server that refuses a certificate says so within this time; one that takes it waits for a request.
ANSWER_S = 1.0
PATIENCE_S = 30
# PostgreSQL's own first message: eight bytes long, and the number that asks for TLS.
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def context(files: CertificateFiles) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(files.ca))
    made.load_cert_chain(files.certificate, files.key)
    return made


def serial_shown(port: int, files: CertificateFiles) -> int:
    """The serial number of the certificate that a TLS port shows."""
    with (
        socket.create_connection(("127.0.0.1", port), ANSWER_S) as plain,
        context(files).wrap_socket(plain, server_hostname="localhost") as channel,
    ):
        return x509.load_der_x509_certificate(channel.getpeercert(binary_form=True) or b"").serial_number


def is_taken(port: int, files: CertificateFiles) -> bool:
    """Whether a TLS port goes on after it saw our certificate."""
    with (
        socket.create_connection(("127.0.0.1", port), ANSWER_S) as plain,
        context(files).wrap_socket(plain, server_hostname="localhost") as channel,
    ):
        try:
            return bool(channel.recv(1))
        except TimeoutError:
            return True
        except (ssl.SSLError, ConnectionError):
            return False


def controller_port(stack: EmbeddedStack) -> int:
    lines = (stack.data_dir / "kafka" / "server.properties").read_text().splitlines()
    listeners = next(line for line in lines if line.startswith("listeners="))
    return int(listeners.rpartition(":")[2])


def redis_port(stack: EmbeddedStack) -> int:
    port = stack.redis_address("admin", stack.credentials(Role.ADMIN, "local")).port
    assert port is not None, "these tests need a redis-server with TLS: apt-get install redis-server"
    return port


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize("role", [Role.SITE, Role.CLIENT])
def test_who_is_outside_is_unknown_to_the_controller_and_redis(stack: EmbeddedStack, role: Role) -> None:
    """A real handshake; the same certificate is taken where sites are heard."""
    outside = stack.credentials(role, "outsider")
    # What an outsider trusts does not matter to the servers.
    assert is_taken(int(stack.kafka_bootstrap.rpartition(":")[2]), outside)
    assert not is_taken(controller_port(stack), outside)
    assert not is_taken(redis_port(stack), outside)


def test_parts_are_known_to_the_controller_and_redis(stack: EmbeddedStack) -> None:
    part = stack.credentials(Role.NODE, "insider")
    assert is_taken(controller_port(stack), part)
    assert is_taken(redis_port(stack), part)


def test_a_common_name_does_not_leave_its_unit(stack: EmbeddedStack, tmp_path: Path) -> None:
    """Whoever has the sites' key may name any common name under OU=site; in Kafka that is nobody."""
    sites = Authority.load(stack.data_dir / "pki").issuers[Branch.SITES]
    assert sites.key is not None
    key = ec.generate_private_key(ec.SECP256R1())
    signer, life = SigningAuthority(sites.certificate, sites.key), Life(now(), LEAF_LIFETIME)
    good = leaf_certificate(Principal(Role.SITE, "x"), key.public_key(), signer, life)
    own = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "site")]
    name = x509.Name([*own, x509.NameAttribute(NameOID.COMMON_NAME, str(broker.ADMIN))])
    builder = x509.CertificateBuilder(good.issuer, name, key.public_key(), good.serial_number)
    builder = builder.not_valid_before(good.not_valid_before_utc).not_valid_after(good.not_valid_after_utc)
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    forged = CertificateFiles.of(tmp_path)
    forged.ca.write_bytes(stack.credentials(Role.ADMIN, "local").ca.read_bytes())
    forged.certificate.write_bytes(pem(builder.sign(sites.key, hashes.SHA256())) + pem(sites.certificate))
    forged.key.write_bytes(pem_key(key))
    thief = KafkaAdmin(stack.kafka_bootstrap, forged)
    assert thief.is_ready(30), "its certificate is taken, as every site's"
    with pytest.raises(ConfigError, match="Kafka refuses"):
        thief.add(bindings_of(Principal(Role.NODE, "thief"), stack.topics))


def grow_old(stack: EmbeddedStack, principal: Principal) -> None:
    """Give a holder a certificate with little of its life left."""
    folder = certificate_folder(stack.data_dir, principal)
    Authority.load(stack.data_dir / "pki").issue(principal, folder, now=now() - LEAF_LIFETIME * 0.9)


async def test_renewed_servers_show_the_new_certificate_and_open_connections_go_on(
    stack: EmbeddedStack, topics: Topics
) -> None:
    """Kafka's two listeners and Redis, without a restart; a producer that is at work loses nothing."""
    admin = stack.credentials(Role.ADMIN, "local")
    ports = [
        int(stack.kafka_bootstrap.rpartition(":")[2]),
        controller_port(stack),
        redis_port(stack),
    ]
    before = [serial_shown(port, admin) for port in ports]
    address = stack.redis_address("admin", admin)
    with server.client(address) as held:
        assert held.ping()
        async with producer(stack, "platform", "p1") as platform:
            await platform.send_and_wait(topics.observations, b"before", partition=0)
            grow_old(stack, broker.BROKER)
            grow_old(stack, REDIS_SERVER)
            assert {broker.BROKER, REDIS_SERVER} <= set(stack.renew())
            await platform.send_and_wait(topics.observations, b"after", partition=0)
        assert held.ping()
    own = [certificate_folder(stack.data_dir, one) for one in (broker.BROKER, broker.BROKER, REDIS_SERVER)]
    wanted = [
        x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes()).serial_number
        for folder in own
    ]
    assert [serial_shown(port, admin) for port in ports] == wanted
    assert not set(before) & set(wanted)
    assert stack.renew() == []
    async with consumer(stack, "analyst", "a1", topics.observations) as analyst:
        assert [(await analyst.getone()).value for _ in range(2)] == [b"before", b"after"]
    assert {child.restarts for child in stack.children()} == {0}


@pytest.fixture
async def site(
    stack: EmbeddedStack, unique_name: Callable[[str], str]
) -> AsyncIterator[tuple[Principal, AIOKafkaProducer]]:
    """A site that is at work."""
    name = unique_name("s")
    async with producer(stack, "site", name) as sending:
        yield Principal(Role.SITE, name), sending


async def test_a_revoked_site_s_open_connection_is_of_no_use(
    stack: EmbeddedStack, topics: Topics, site: tuple[Principal, AIOKafkaProducer]
) -> None:
    """The next packet on the connection it has, and on a new one, is refused."""
    principal, sending = site
    KafkaAdmin(stack.kafka_bootstrap, stack.credentials(Role.ADMIN, "local")).grant([principal], [topics])
    await sending.send_and_wait(topics.packets, b"packet", partition=0)
    assert revoke(stack.data_dir, principal, reason="stolen", now=now())
    with pytest.raises((TopicAuthorizationFailedError, GroupAuthorizationFailedError)):
        await sending.send_and_wait(topics.packets, b"packet", partition=0)
    with pytest.raises(ConfigError, match="was revoked"):
        stack.credentials(Role.SITE, principal.name)
    # Nor does any right that is given later, since the denial goes before it.
    KafkaAdmin(stack.kafka_bootstrap, stack.credentials(Role.ADMIN, "local")).grant([principal], [topics])
    with pytest.raises((TopicAuthorizationFailedError, GroupAuthorizationFailedError)):
        await sending.send_and_wait(topics.packets, b"packet", partition=0)


@pytest.mark.faults
def test_a_revoked_node_is_put_out_of_redis_and_others_stay(
    stack: EmbeddedStack, unique_name: Callable[[str], str]
) -> None:
    gone, other = unique_name("n"), unique_name("n")
    address = stack.redis_account(Role.NODE, gone)
    with server.client(address) as held, server.client(stack.redis_account(Role.NODE, other)) as staying:
        password = address.password_file.read_bytes()
        assert held.set("bkdms:x", b"1")
        revoke(stack.data_dir, Principal(Role.NODE, gone), reason="stolen", now=now())
        with pytest.raises(redis.RedisError):
            held.get("bkdms:x")
        # With certificate and password it comes back to a closed door.
        address.password_file.write_bytes(password)
        with server.client(address) as again, pytest.raises(redis.exceptions.AuthenticationError):
            again.ping()
        address.password_file.unlink()
        assert staying.get("bkdms:x") == b"1"
    users = (stack.data_dir / "redis" / "users.acl").read_text()
    assert f"user node:{other} " in users
    assert f"node:{gone}" not in users


@pytest.mark.parametrize("role", sorted(IRREVOCABLE))
def test_super_users_and_servers_are_not_revoked_in_appearance_alone(
    stack: EmbeddedStack, role: Role
) -> None:
    with pytest.raises(ConfigError, match="replace the authority"):
        revoke(stack.data_dir, Principal(role, "1"), reason="stolen", now=now())


def conninfo(database: Database, principal: Principal) -> str:
    running = database.running
    return postgres_server.address(
        running.place, DatabaseRole.READER, database.name, running.certificate(principal)
    )


def test_a_revoked_analyst_is_put_out_of_postgresql_and_others_stay(database: Database) -> None:
    """A name that begins with the revoked one is another's; so is the name with another letter for the dot."""
    gone, *others = (Principal(Role.ANALYST, name) for name in ("ma.ria", "ma.ria2", "maxria"))
    place = database.running.place
    asking = database.running.certificate(Principal(Role.ADMIN, "test"))
    try:
        with (
            psycopg.connect(conninfo(database, gone), autocommit=True) as held,
            psycopg.connect(conninfo(database, others[0]), autocommit=True) as staying,
        ):
            assert held.execute("SELECT 1").fetchone() == (1,)
            postgres_live.shut_out(place, asking, [gone])
            with pytest.raises(psycopg.OperationalError):
                held.execute("SELECT 1")
            assert staying.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(conninfo(database, gone))
        for other in others:
            psycopg.connect(conninfo(database, other)).close()
    finally:
        postgres_live.shut_out(place, asking, [])


def test_postgresql_shows_a_renewed_certificate_and_open_sessions_go_on(database: Database) -> None:
    running = database.running
    asking = running.certificate(Principal(Role.ADMIN, "test"))
    with psycopg.connect(conninfo(database, Principal(Role.ANALYST, "a")), autocommit=True) as held:
        renewed = running.authority.issue(POSTGRES_SERVER, running.folder / "server", now=now())
        postgres_live.reload_certificate(running.place, asking, renewed)
        serial = x509.load_pem_x509_certificate(renewed.certificate.read_bytes()).serial_number
        deadline = time.monotonic() + PATIENCE_S
        while postgres_serial(running) != serial and time.monotonic() < deadline:
            time.sleep(0.05)
        assert postgres_serial(running) == serial
        assert held.execute("SELECT 1").fetchone() == (1,)


def postgres_serial(running: RunningPostgres) -> int:
    """The serial number of the certificate that PostgreSQL shows, after its own request for TLS."""
    files = running.certificate(Principal(Role.ADMIN, "test"))
    with socket.create_connection(("127.0.0.1", running.place.port), ANSWER_S) as plain:
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with context(files).wrap_socket(plain, server_hostname="localhost") as channel:
            return x509.load_der_x509_certificate(channel.getpeercert(binary_form=True) or b"").serial_number


@pytest.mark.faults
async def test_who_was_revoked_stays_out_of_a_kafka_that_forgot_everything(tmp_path: Path) -> None:
    """The list alone brings the denials back: here Kafka's folder and the kept rights are gone."""
    with EmbeddedStack(tmp_path, is_short_lived=True) as stack:
        files = stack.credentials(Role.SITE, "gone")
        kept = {path.name: path.read_bytes() for path in files.key.parent.iterdir()}
        stack.credentials(Role.SITE, "staying")
    assert not revoke(tmp_path, Principal(Role.SITE, "gone"), reason="stolen", now=now())
    rmtree(tmp_path / "kafka")
    (tmp_path / "kafka-rights.json").unlink()
    with EmbeddedStack(tmp_path, is_short_lived=True) as stack:
        for name, content in kept.items():
            assert (files.key.parent / name).read_bytes() == content
        async with producer(stack, "site", "staying") as site:
            await site.send_and_wait(stack.topics.packets, b"packet", partition=0)
        # Whoever gives rights by hand meets the denial.
        admin = KafkaAdmin(stack.kafka_bootstrap, stack.credentials(Role.ADMIN, "local"))
        admin.grant([Principal(Role.SITE, "gone")], [stack.topics])
        tls = client_context(TlsFiles(files.ca, files.certificate, files.key))
        thief = AIOKafkaProducer(
            bootstrap_servers=stack.kafka_bootstrap, security_protocol="SSL", ssl_context=tls
        )
        async with thief:
            with pytest.raises(TopicAuthorizationFailedError):
                await thief.send_and_wait(stack.topics.packets, b"packet", partition=0)
