"""TLS 1.3 and certificates, or nothing: each server is tried in plain text, with TLS 1.2 and without a certificate."""

import json
import socket
import ssl

import pytest
from confluent_kafka import Producer

from ops.access_table import ACCESS, Quota
from ops.kafka.admin import client_settings
from ops.kafka.quotas import keep_quotas, quotas, set_quotas
from ops.ports import HOST
from ops.stack import EmbeddedStack
from ops.tls.principal import Principal, Role
from pipeline.core.topics import Topics

pytestmark = pytest.mark.stack

SERVERS = ("kafka", "kafka_controller", "redis")
PATIENCE_S = 10
PING = b"*1\r\n$4\r\nPING\r\n"
# ApiVersions, version 0: what a Kafka client asks first.
API_VERSIONS = b"\0\0\0\x0b\0\x12\0\0\0\0\0\x01\0\x01x"


def port_of(stack: EmbeddedStack, server: str) -> int:
    """The port of a server of the stack."""
    return int(json.loads((stack.data_dir / "ports.json").read_text())[server])


def context(stack: EmbeddedStack) -> ssl.SSLContext:
    """A client's context with a certificate that every server of the stack takes."""
    files = stack.credentials(Role.NODE, "n1")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(files.ca)
    made.load_cert_chain(files.certificate, files.key)
    return made


def talk(stack: EmbeddedStack, server: str, tls: ssl.SSLContext | None) -> bytes:
    """Ask a server for something and return what it answers; nothing where it closes."""
    asked = PING if server == "redis" else API_VERSIONS
    with socket.create_connection((HOST, port_of(stack, server)), PATIENCE_S) as plain:
        stream = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        with stream:
            stream.sendall(asked)
            return stream.recv(64)


@pytest.mark.parametrize("server", SERVERS)
def test_a_certificate_over_tls_1_3_is_answered(stack: EmbeddedStack, server: str) -> None:
    """The control of the tries below."""
    assert talk(stack, server, context(stack))


@pytest.mark.parametrize("server", SERVERS)
def test_plain_text_is_not_answered(stack: EmbeddedStack, server: str) -> None:
    try:
        answer = talk(stack, server, None)
    except OSError:
        answer = b""
    # At most TLS' own alert, never an answer.
    assert not answer or answer[0] == 0x15


@pytest.mark.parametrize("server", SERVERS)
def test_tls_1_2_is_refused(stack: EmbeddedStack, server: str) -> None:
    older = context(stack)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):
        talk(stack, server, older)


@pytest.mark.parametrize("server", SERVERS)
def test_without_a_certificate_nothing_is_answered(stack: EmbeddedStack, server: str) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(stack.credentials(Role.NODE, "n1").ca)
    try:
        answer = talk(stack, server, nobody)
    except OSError:
        answer = b""
    assert not answer


def test_a_certificate_brings_the_quota_of_its_role(stack: EmbeddedStack) -> None:
    """To those from outside; the parts themselves have none."""
    for role in (Role.SITE, Role.ANALYST, Role.NODE):
        stack.credentials(role, "quoted")
    held = quotas(stack.kafka_bootstrap, stack.credentials(Role.ADMIN, "local"))
    for role in (Role.SITE, Role.ANALYST):
        quota = ACCESS[role].quota
        assert quota is not None
        assert held[f"{role.value}:quoted"] == {
            "producer_byte_rate": quota.produce_bytes_per_s,
            "consumer_byte_rate": quota.consume_bytes_per_s,
            "request_percentage": quota.request_percent,
        }
    assert "node:quoted" not in held


def test_a_quota_that_is_given_goes_before_the_tables_and_the_hands(stack: EmbeddedStack) -> None:
    """What was set by hand stays where none is given; one that is given is set once."""
    admin, site = stack.credentials(Role.ADMIN, "local"), Principal(Role.SITE, "given")
    stack.enrol([site])
    set_quotas(stack.kafka_bootstrap, admin, {site: Quota(32 * 1024, 1024 * 1024, 100)})
    given = {Role.SITE: Quota(64 * 1024, 2 * 1024 * 1024, 50)}
    changed = [keep_quotas(stack.kafka_bootstrap, admin, [site], one) for one in ({}, given, given)]
    assert changed == [[], [site], []]
    assert quotas(stack.kafka_bootstrap, admin)[str(site)]["producer_byte_rate"] == 64 * 1024


def slowed_ms(stack: EmbeddedStack, site: Principal, topic: str) -> float:
    """Send 432 KiB as a site; return for how long Kafka told it to wait."""
    told: list[float] = []
    settings = client_settings(stack.kafka_bootstrap, stack.credentials(site.role, site.name))
    client = Producer({**settings, "throttle_cb": lambda event: told.append(event.throttle_time)})
    for _ in range(9):
        client.produce(topic, bytes(48 * 1024))
        assert client.flush(60) == 0
    client.poll(1)
    return sum(told)


@pytest.mark.faults
def test_who_sends_beyond_its_quota_is_slowed_down_and_nobody_else_is(
    stack: EmbeddedStack, topics: Topics
) -> None:
    """At 32 KiB a second, of which ten seconds' worth are free; another site sends the same at once."""
    admin = stack.credentials(Role.ADMIN, "local")
    flood, calm = Principal(Role.SITE, "flood"), Principal(Role.SITE, "calm")
    stack.enrol([flood, calm])
    set_quotas(stack.kafka_bootstrap, admin, {flood: Quota(32 * 1024, 1024 * 1024, 100)})
    assert keep_quotas(stack.kafka_bootstrap, admin, [flood]) == []
    assert slowed_ms(stack, flood, topics.packets) > 0
    assert slowed_ms(stack, calm, topics.packets) == 0
