"""A site that is put out while its connections are open: at Kafka, and at the API."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import pytest

from ops.tls.principal import Role
from ops.tls.site_principal import site_principal
from pipeline.adapters.tls import client_context
from pipeline.apps.demo import commands
from pipeline.core.errors import BkdmsError
from tests.security.attack import Attack
from tests.security.ground import Ground
from tests.security.test_api import head_of, own_files
from tests.support.world import packet_value

pytestmark = [pytest.mark.stack, pytest.mark.security]
TRIES: Final = 150
WAIT_S: Final = 0.1


async def revoked_with_connections_open(ground: Ground) -> str:
    """Both connections are used before, stay open, and are used again."""
    site = await ground.enrol("leaving", 0xC1)
    name, url = site_principal(site.name).name, ground.deployment.api_url + head_of(site.name)
    value = packet_value(site.packet([1], time_ms=ground.now_ms()))
    await ground.send(Role.SITE, name, ground.topics.packets, value)
    assert await ground.fates.of(value) == "admitted"
    async with httpx.AsyncClient(verify=client_context(own_files(ground, site.name))) as client:
        before = (await client.get(url)).status_code
        revoking = ("registrar", "revoke", str(site.name), "--reason", "stolen")
        answer = await asyncio.to_thread(commands.bkdms, ground.deployment.settings_file, *revoking)
        if answer.code != 0:
            return answer.talk
        kafka = await _at_kafka(ground, name, packet_value(site.packet([2], time_ms=ground.now_ms())))
        api = await _at_the_api(client, url)
    return f"Kafka {kafka}, API {before} then {api}"


async def _at_kafka(ground: Ground, name: str, value: bytes) -> str:
    for _ in range(TRIES):
        try:
            await ground.send(Role.SITE, name, ground.topics.packets, value)
        except BkdmsError as error:
            cause = type(error.__cause__).__name__
            return "refuses" if "Authorization" in cause or "Authorization" in str(error) else str(error)
        await asyncio.sleep(WAIT_S)
    return "takes more"


async def _at_the_api(client: httpx.AsyncClient, url: str) -> str:
    for _ in range(TRIES):
        try:
            status = (await client.get(url)).status_code
        except httpx.TransportError:
            return "ended"
        if status != httpx.codes.OK:
            return str(status)
        await asyncio.sleep(WAIT_S)
    return "still answers"


ATTACKS: Final = [
    Attack(
        "a revoked site on its open connections",
        "DST-3 DST-4",
        "Kafka refuses, API 200 then 403",
        revoked_with_connections_open,
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_site_that_is_put_out(attack: Attack, see: Callable[[Attack], Awaitable[str]]) -> None:
    assert await see(attack) == attack.expected
