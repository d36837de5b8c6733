"""Kafka's own decisions tell which rights are used."""

import asyncio

import pytest

from ops.kafka.admin import KafkaAdmin
from ops.kafka.broker import ADMIN
from ops.kafka.used_rights import unused, watch
from ops.local_servers import LocalServers
from ops.stack import EmbeddedStack
from ops.tls.principal import Principal, Role
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import producer

pytestmark = [pytest.mark.stack, pytest.mark.faults]


async def test_a_right_that_is_used_is_not_among_the_unused(stack: EmbeddedStack, topics: Topics) -> None:
    """A validator's certificate writes dead letters all the while, and never the chain log."""
    user = Principal(Role.VALIDATOR, "used")
    admin = KafkaAdmin(stack.kafka_bootstrap, stack.credentials(ADMIN.role, ADMIN.name))
    async with producer(stack, user.role, user.name) as writer:
        watching = asyncio.create_task(asyncio.to_thread(watch, LocalServers.of(stack.data_dir).brokers, 2))
        while not watching.done():
            await writer.send_and_wait(topics.rejected, b"x", partition=0)
            await asyncio.sleep(0.2)
    left = {one.name for one in unused(admin.bindings(user.kafka), watching.result())}
    assert topics.chain in left
    assert topics.rejected not in left
