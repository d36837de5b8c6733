"""A flood of forged packets in another site's name: how much later are that site's own packets committed?"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from ops.tls.principal import Role
from tests.security.attack import Attack
from tests.security.ground import Ground
from tests.support.world import packet_value

pytestmark = [pytest.mark.stack, pytest.mark.security]
FORGED: Final = 200
ROUNDS: Final = 2
PACKETS: Final = 6
WARM_UP_S: Final = 2.0
TOLERATED: Final = 0.10


@asynccontextmanager
async def flooded(ground: Ground) -> AsyncIterator[None]:
    """Let the hostile site send forged packets of the victim to the victim's partition meanwhile."""
    raw = ground.victim.packet([1], time_ms=ground.now_ms(), advance=False)
    values = [packet_value(raw[:-8] + number.to_bytes(8, "big")) for number in range(FORGED)]
    files = ground.files(Role.SITE, "hostile")
    plan = ground.deployment.data_dir.parent / "flood.json"
    fields = {
        "ca": files.ca,
        "certificate": files.certificate,
        "key": files.key,
        "topic": ground.topics.packets,
    }
    told = {name: str(value) for name, value in fields.items()}
    told["bootstrap"] = ground.deployment.stack.kafka_bootstrap
    plan.write_text(json.dumps({**told, "values": [value.hex() for value in values]}))
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.security.flooding", str(plan), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        ground.fates.forget(values[-1])
        await ground.fates.of(values[-1])
        await asyncio.sleep(WARM_UP_S)
        assert flood.returncode is None, "the flood ended"
        yield
    finally:
        if flood.returncode is None:
            flood.kill()
        await flood.wait()


async def commit_times(ground: Ground) -> list[float]:
    """Return the seconds from sending to the commit of some packets of the victim, one after the other."""
    found = []
    for number in range(PACKETS):
        value = packet_value(ground.victim.packet([number], time_ms=ground.now_ms()))
        began = time.perf_counter()
        await ground.send(Role.SITE, "victim", ground.topics.packets, value)
        await ground.fates.of(value)
        found.append(time.perf_counter() - began)
    return found


async def flood_in_the_victims_name(ground: Ground) -> str:
    """Calm and flooded times by turns, so that whatever else this machine does falls on both alike."""
    calm, rough = [], []
    for _ in range(ROUNDS):
        calm += await commit_times(ground)
        async with flooded(ground):
            rough += await commit_times(ground)
    slower = statistics.median(rough) / statistics.median(calm) - 1
    ground.figures["flood"] = (
        f"commit {statistics.median(calm):.3f} s calm, {statistics.median(rough):.3f} s flooded"
    )
    return "slower by less than 10 %" if slower < TOLERATED else f"slower by {slower:.0%}"


ATTACKS: Final = [
    Attack("flood in another site's name", "DST-2", "slower by less than 10 %", flood_in_the_victims_name),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_flood_that_must_not_slow_others(
    attack: Attack, see: Callable[[Attack], Awaitable[str]]
) -> None:
    assert await see(attack) == attack.expected
