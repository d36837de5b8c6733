"""Records that would change who is allowed what, by those who may not decide it, or decided once before."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from pipeline.core.control import Enrol, KeyOffer, Reanchor, Revoke, possession_message, sign_control
from pipeline.core.keys import Algorithm, Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.signing import Ed25519Signer, Signer
from tests.security.attack import Attack, Run
from tests.security.curve import mixed_order
from tests.security.ground import Ground, enrolling
from tests.security.registering import all_validators_count, registered_as, registration_of
from tests.support.world import TestSite, control_value, packet_value, site_name

pytestmark = [pytest.mark.stack, pytest.mark.security]
SMALL_ORDER: Final = b"\x01" + bytes(31)


def stranger(ground: Ground) -> TestSite:
    """Return a site that nobody enrolled."""
    signer = Ed25519Signer(secrets.token_bytes(32), Use.SITE)
    return TestSite(
        site_name(0xBAD), signer, ground.hostile.suite, ground.genesis.chain, ground.hostile.platform_key
    )


def revoking(ground: Ground) -> Revoke:
    """Return what would put the victim out."""
    return Revoke(ground.victim.name, ground.victim.signer.public.fingerprint, "hostile")


def issued_by(signer: Signer) -> Callable[[Ground], Awaitable[bytes]]:
    """A revocation of the victim, signed by somebody."""

    async def make(ground: Ground) -> bytes:
        return sign_control(ground.genesis.chain, signer, 1, bytes(32), revoking(ground))

    return make


async def by_the_site_itself(ground: Ground) -> bytes:
    site = ground.hostile
    return sign_control(site.chain, site.signer, 1, bytes(32), enrolling(stranger(ground)))


async def forged(ground: Ground) -> bytes:
    raw = bytearray(await ground.signed_by_registrar(revoking(ground)))
    raw[-2] ^= 1
    return bytes(raw)


async def of_another_chain(ground: Ground) -> bytes:
    signer = Ed25519Signer(secrets.token_bytes(32), Use.REGISTRAR)
    return sign_control(secrets.token_bytes(32), signer, 1, bytes(32), revoking(ground))


async def reanchor_by_a_registrar(ground: Ground) -> bytes:
    return await ground.signed_by_registrar(Reanchor(2, 1, secrets.token_bytes(32)))


def enrolment_with(key: Callable[[], tuple[bytes, bytes]]) -> Callable[[Ground], Awaitable[bytes]]:
    """An enrolment that a careless registrar signed: a public key, and what is to prove its possession."""

    async def make(ground: Ground) -> bytes:
        body, (raw, possession) = enrolling(stranger(ground)), key()
        fields = (body.site, Algorithm.ED25519, raw, possession, body.suites, body.indicators)
        return await ground.signed_by_registrar(Enrol(*fields))

    return make


async def without_possession(ground: Ground) -> bytes:
    body, other = enrolling(stranger(ground)), Ed25519Signer(secrets.token_bytes(32), Use.SITE)
    key = other.public.fingerprint
    false = ground.hostile.signer.sign(possession_message(ground.genesis.chain, body.site, key))
    fields = (body.site, body.algorithm, other.public.raw, false, body.suites, body.indicators)
    return await ground.signed_by_registrar(Enrol(*fields))


async def weak_offer(ground: Ground) -> bytes:
    return await ground.signed_by_registrar(
        KeyOffer(ground.victim.name, 99, Algorithm.X25519, bytes(32), MAX_TIME_MS)
    )


async def older_epoch(ground: Ground) -> bytes:
    key = ground.hostile.platform_key.public
    return await ground.signed_by_registrar(
        KeyOffer(ground.victim.name, 0, key.algorithm, key.raw, MAX_TIME_MS)
    )


async def old_enrolment(ground: Ground) -> bytes:
    return ground.enrolments["hostile"].raw


def refused(make: Callable[[Ground], Awaitable[bytes]]) -> Run:
    async def run(ground: Ground) -> str:
        value = control_value(await make(ground))
        ground.fates.forget(value)
        await ground.past_validators(value)
        return await ground.fates.of(value)

    return run


async def through_the_front_door(ground: Ground) -> str:
    """Sites have no business with control records, genuine or not: validators let packets through alone."""
    value = control_value(await ground.signed_by_registrar(revoking(ground)))
    await ground.as_site(value)
    return await ground.fates.of(value)


async def enrol_again_after_revoke(ground: Ground) -> str:
    """Everywhere that somebody could put the enrolment of a revoked site once more."""
    site, enrolment = ground.sites["revoked"], ground.enrolments["revoked"]
    async with all_validators_count(ground, "admitted"):
        await ground.issue(Revoke(site.name, site.signer.public.fingerprint, "stolen"))
    again = registration_of(ground, enrolment.raw, 10**6)
    seen = [await refused(lambda _: _given(enrolment.raw))(ground)]
    seen.append(await registered_as(ground, again, "stale"))
    value = packet_value(site.packet([1], time_ms=ground.now_ms()))
    await ground.as_site(value)
    return ", ".join((*seen, await ground.fates.of(value)))


async def _given(raw: bytes) -> bytes:
    return raw


def falsely_registered(outcome: str, signer: Callable[[], Signer]) -> Run:
    """A registration of a stranger on the validators' own topic, and then a packet of that stranger."""

    async def run(ground: Ground) -> str:
        site = stranger(ground)
        control = sign_control(ground.genesis.chain, signer(), 1, bytes(32), enrolling(site))
        seen = await registered_as(ground, registration_of(ground, control, 1), outcome)
        value = packet_value(site.packet([1], time_ms=ground.now_ms()))
        await ground.as_site(value)
        return f"{seen}, {await ground.fates.of(value)}"

    return run


def _unknown() -> Signer:
    return Ed25519Signer(secrets.token_bytes(32), Use.REGISTRAR)


ATTACKS: Final = [
    Attack("site that enrols a friend", "DST-3 DST-4", "unknown_issuer", refused(by_the_site_itself)),
    Attack("revocation by a stranger's key", "DST-4", "unknown_issuer", refused(issued_by(_unknown()))),
    Attack("revocation with a forged signature", "DST-4", "bad_signature", refused(forged)),
    Attack("control record of another chain", "DST-4", "wrong_chain", refused(of_another_chain)),
    Attack("reanchor by a registrar alone", "DST-4", "unknown_issuer", refused(reanchor_by_a_registrar)),
    Attack("old enrolment again", "DST-3", "stale", refused(old_enrolment)),
    Attack(
        "enrolment of a key of small order",
        "DST-5",
        "weak_key",
        refused(enrolment_with(lambda: (SMALL_ORDER, SMALL_ORDER + bytes(32)))),
    ),
    Attack("enrolment of a key of mixed order", "DST-5", "weak_key", refused(enrolment_with(mixed_order))),
    Attack("enrolment without possession of the key", "DST-3", "bad_possession", refused(without_possession)),
    Attack("platform key of small order", "DST-5", "weak_key", refused(weak_offer)),
    Attack("platform key of an epoch that is past", "DST-6", "out_of_range", refused(older_epoch)),
    Attack("control record by a site's certificate", "DST-4", "foreign_schema", through_the_front_door),
    Attack(
        "enrolment again after revocation", "DST-3", "stale, stale, inactive_site", enrol_again_after_revoke
    ),
    Attack(
        "registration that nobody signed for",
        "DST-4",
        "unknown_issuer, unknown_site",
        falsely_registered("unknown_issuer", _unknown),
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_record_that_must_change_nothing(
    attack: Attack, see: Callable[[Attack], Awaitable[str]]
) -> None:
    assert await see(attack) == attack.expected
