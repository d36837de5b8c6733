"""aiokafka clients with the certificate of a role, as the programs make them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from ops.stack import EmbeddedStack
from pipeline.adapters.tls import TlsFiles, client_context


def transport(stack: EmbeddedStack, role: str, name: str) -> dict[str, Any]:
    """The settings that connect an aiokafka client as ``role:name``."""
    files = stack.credentials(role, name)
    return {
        "bootstrap_servers": stack.kafka_bootstrap,
        "security_protocol": "SSL",
        "ssl_context": client_context(TlsFiles(files.ca, files.certificate, files.key)),
    }


@asynccontextmanager
async def producer(
    stack: EmbeddedStack, role: str, name: str, **more: Any
) -> AsyncIterator[AIOKafkaProducer]:
    """A started idempotent producer."""
    client = AIOKafkaProducer(**transport(stack, role, name), enable_idempotence=True, **more)
    try:
        await client.start()
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def consumer(
    stack: EmbeddedStack, role: str, name: str, *topics: str, **more: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer that reads from the beginning."""
    settings = {"auto_offset_reset": "earliest"} | more
    client = AIOKafkaConsumer(*topics, **transport(stack, role, name), **settings)
    try:
        await client.start()
        yield client
    finally:
        await client.stop()
