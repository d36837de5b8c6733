"""Who may talk to Kafka, and what each role may do there."""

import asyncio
import ssl

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import TopicPartition

from ops.kafka.admin import client_settings
from ops.kafka.topic_table import PACKET_MESSAGE_BYTES
from ops.stack import EmbeddedStack
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import consumer, producer

pytestmark = pytest.mark.stack

PATIENCE_S = 30


async def test_a_record_goes_from_a_site_to_a_validator(stack: EmbeddedStack, topics: Topics) -> None:
    """A site's certificate writes packets and a validator's, in its group, reads them unchanged."""
    async with producer(stack, "site", "s1") as site:
        await site.send_and_wait(topics.packets, b"\x00\xffpacket", key=b"s1")
    async with consumer(stack, "validator", "v1", topics.packets, group_id="bkdms-validator-t") as validator:
        record = await asyncio.wait_for(validator.getone(), PATIENCE_S)
    assert (record.key, record.value) == (b"s1", b"\x00\xffpacket")


async def test_the_broker_speaks_tls_1_3_and_nothing_older(stack: EmbeddedStack) -> None:
    """A client that offers TLS 1.2 alone gets no connection, though its certificate is good."""
    files = stack.credentials("site", "s1")
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.certificate, files.key)
    host, port = stack.kafka_bootstrap.split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    writer.close()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(host, int(port), ssl=context)


async def test_a_client_without_a_certificate_is_refused(stack: EmbeddedStack) -> None:
    """Trusting the root is not enough: the broker asks for a certificate."""
    context = ssl.create_default_context(cafile=str(stack.credentials("site", "s1").ca))
    client = AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap, security_protocol="SSL", ssl_context=context
    )
    with pytest.raises(KafkaConnectionError):
        await client.start()
    await client.stop()


async def test_a_client_without_tls_is_refused(stack: EmbeddedStack) -> None:
    """There is no plain listener."""
    client = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap, request_timeout_ms=2000)
    with pytest.raises(KafkaConnectionError):
        await client.start()
    await client.stop()


async def test_a_site_cannot_read_packets(stack: EmbeddedStack, topics: Topics) -> None:
    """What sites send is for validators only."""
    async with consumer(stack, "site", "s1") as site:
        site.assign([TopicPartition(topics.packets, 0)])
        with pytest.raises(TopicAuthorizationFailedError):
            await asyncio.wait_for(site.getone(), PATIENCE_S)


async def test_a_site_cannot_write_the_chain_log(stack: EmbeddedStack, topics: Topics) -> None:
    """Only admitted packets reach the chain log, and a site does not admit."""
    async with producer(stack, "site", "s1") as site:
        with pytest.raises(TopicAuthorizationFailedError):
            await site.send_and_wait(topics.chain, b"x", partition=0)


async def test_a_role_keeps_to_its_own_groups(stack: EmbeddedStack, topics: Topics) -> None:
    """An analyst's certificate can't join a validator's group and move its offsets."""
    with pytest.raises(GroupAuthorizationFailedError):
        async with consumer(
            stack, "analyst", "a1", topics.observations, group_id="bkdms-validator-t"
        ) as analyst:
            await asyncio.wait_for(analyst.getone(), PATIENCE_S)


async def test_no_topic_comes_into_being_by_writing_to_it(stack: EmbeddedStack) -> None:
    """Auto-creation is off, for the admin's certificate too."""
    async with producer(stack, "admin", "local", request_timeout_ms=2000) as admin:
        with pytest.raises((UnknownTopicOrPartitionError, TimeoutError)):
            await asyncio.wait_for(admin.send_and_wait("nobody.made.this", b"x"), 5)
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    settings = client_settings(stack.kafka_bootstrap, stack.credentials("admin", "local"))
    assert "nobody.made.this" not in AdminClient(settings).list_topics(timeout=10).topics


async def test_the_chain_log_carries_the_brokers_time(stack: EmbeddedStack, topics: Topics) -> None:
    """What a producer claims as the time is replaced by the time of appending."""
    async with producer(stack, "node", "n1") as node:
        sent = await node.send_and_wait(topics.chain, b"tick", partition=0, timestamp_ms=1)
    async with consumer(stack, "node", "n1") as reader:
        reader.assign([TopicPartition(topics.chain, 0)])
        record = await asyncio.wait_for(reader.getone(), PATIENCE_S)
    assert record.timestamp_type == 1
    assert record.timestamp == sent.timestamp > 1_700_000_000_000


async def test_a_packet_above_the_limit_is_refused_compressed_or_not(
    stack: EmbeddedStack, topics: Topics
) -> None:
    """The limit counts what comes out: 70 KB of zeros don't pass for being small when compressed."""
    for compression in (None, "gzip"):
        async with producer(stack, "site", "s1", compression_type=compression) as site:
            with pytest.raises(MessageSizeTooLargeError):
                await site.send_and_wait(topics.packets, bytes(PACKET_MESSAGE_BYTES), key=b"s1")
