"""False records on the topic from which validators know who may send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ops.tls.principal import Role
from pipeline.core import avro
from pipeline.core.control import Enrol, parse_control
from schemas import schema
from tests.security.ground import Ground

_REGISTRATION: Final = schema("SiteRegistration")
_VALIDATORS: Final = ("validator-1", "validator-2")
_COUNTER: Final = "bkdms_registrations_total"


def registration_of(ground: Ground, control: bytes, height: int) -> bytes:
    """Return the framed registration of a control record about a site."""
    parsed = parse_control(control)
    body = parsed.body  # type: ignore[union-attr]
    site = body.site  # type: ignore[union-attr]
    fields = {
        "chain": ground.genesis.chain,
        **site._asdict(),
        "active": isinstance(body, Enrol),
        "height": height,
        "entry": 0,
        "control": control,
    }
    return avro.frame(_REGISTRATION, avro.encode(_REGISTRATION, fields))


async def registered_as(ground: Ground, value: bytes, outcome: str) -> str:
    """Write a value with a stolen certificate of a node; return its outcome once each validator counted it."""

    async with all_validators_count(ground, outcome):
        await ground.send(Role.NODE, "stolen", ground.topics.sites, value)
    return outcome


@asynccontextmanager
async def all_validators_count(ground: Ground, outcome: str) -> AsyncIterator[None]:
    """Wait, at the end of the block, until each validator has taken one more registration with an outcome."""

    def counted() -> float:
        return sum(ground.metric(name, _COUNTER, outcome=outcome) for name in _VALIDATORS)

    before = counted()
    yield
    await ground.until(lambda: counted() >= before + len(_VALIDATORS))
