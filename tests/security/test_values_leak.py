"""What must stay inside: values known to the test, and keys, looked for everywhere else. Runs after the others."""

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import psutil
import pytest

from ops.tls.principal import Role
from pipeline.core.keys import Use
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from pipeline.core.signing import Ed25519Signer
from tests.security.attack import Attack
from tests.security.ground import Ground
from tests.support.world import packet_value
from tests.support.zone import leaks

pytestmark = [pytest.mark.stack, pytest.mark.security]


async def plain_values(ground: Ground) -> str:
    """Send sensor and source names that stand nowhere else, and look for them in each file outside the zone."""
    words = [f"sensor-{secrets.token_hex(12)}", f"source-{secrets.token_hex(12)}"]
    site, now = ground.victim, ground.now_ms()
    extending = Extending(words[0], QualityCode.ACCURATE_MEASUREMENT, words[1])
    value = KpiValue("LOCAL:TRAFFIC_SPEED", "", 424_242_421, 0, "HM")
    raw = site.packet(
        records=[encode_record(UnifiedRecord(site.name, now, (value,), extending))], time_ms=now
    )
    await ground.send(Role.SITE, "victim", ground.topics.packets, packet_value(raw))
    assert await ground.stored(raw) == "ok"
    known = [word.encode() for word in (*words, "424242421")]
    # The search is able to find: what may be seen of the packet is in Kafka's files, and the store has the values.
    assert leaks(ground.deployment.data_dir, [raw[-64:]])
    rows = ground.query("SELECT exact FROM observations WHERE sensor = :sensor", sensor=words[0])
    found = leaks(ground.deployment.data_dir, known)
    return f"in {', '.join(found)}" if found or rows != [("424242421",)] else "found in the store alone"


def forms(secret: bytes) -> list[bytes]:
    """Return a secret as it could have been written down."""
    return [secret, secret.hex().encode()]


async def private_keys(ground: Ground) -> str:
    """Keys of nodes and passphrases: in no file of the data folder, no argument and no environment of a process."""
    secrets_known = []
    for name in ground.genesis.policy.node_names:
        signer = ground.node_signer(name)
        assert isinstance(signer, Ed25519Signer)
        assert signer.use is Use.NODE
        secrets_known += forms(signer.seed)
    found = leaks(ground.deployment.data_dir, secrets_known)
    for child in ground.deployment.stack.children():
        if child.pid is None:
            continue
        process = psutil.Process(child.pid)
        told = " ".join(process.cmdline()).encode()
        environment = Path(f"/proc/{child.pid}/environ")
        told += environment.read_bytes()
        if any(secret in told for secret in secrets_known):
            found.append(child.name)
    return f"in {', '.join(found)}" if found else "nowhere in clear"


ATTACKS: Final = [
    Attack(
        "plain values looked for outside the platform zone",
        "DST-1 DST-8",
        "found in the store alone",
        plain_values,
    ),
    Attack(
        "private keys looked for in files, arguments and environments",
        "DST-1 DST-8",
        "nowhere in clear",
        private_keys,
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_what_must_stay_inside(attack: Attack, see: Callable[[Attack], Awaitable[str]]) -> None:
    assert await see(attack) == attack.expected
