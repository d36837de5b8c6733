"""Packets that must not get in: through the front door, and past the validators straight to the nodes."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha512
from typing import Any, Final

import pytest

from pipeline.core import avro
from pipeline.core.block import certified_body, encode_header, parse_certified
from pipeline.core.contract import Contract
from pipeline.core.keys import Use
from pipeline.core.names import MAX_LONG
from pipeline.core.packet import MAX_PACKET_BYTES
from pipeline.core.sealing import Suite
from pipeline.core.signing import PACKET_PREFIX, Ed25519Signer, P256Signer
from schemas import schema
from tests.security.attack import Attack, Run
from tests.security.ground import Ground
from tests.support.forge import Forge, parsed, resigned
from tests.support.world import TestSite, packet_value, site_name

pytestmark = [pytest.mark.stack, pytest.mark.security]
PACKET: Final = schema("Packet")
DAY_MS: Final = 86_400_000
_ED25519_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Make = Callable[[Ground], bytes]


def fresh(ground: Ground, site: TestSite | None = None) -> bytes:
    """Return the next good packet of a site, which the caller spoils."""
    return (site or ground.hostile).packet([1], time_ms=ground.now_ms(), advance=False)


def changed(ground: Ground, **fields: object) -> bytes:
    """Return the hostile site's next packet with other clear fields, signed again."""
    decoded = avro.decode(PACKET, fresh(ground))
    assert decoded is not None
    signed = avro.encode(PACKET, decoded | fields)[:-64]
    return packet_value(signed + ground.hostile.signer.sign(PACKET_PREFIX + signed))


def unknown_site(ground: Ground) -> bytes:
    stranger = Ed25519Signer(secrets.token_bytes(32), Use.SITE)
    return packet_value(fresh(ground, replace(ground.hostile, name=site_name(0xFFFF), signer=stranger)))


def own_key_in_the_victims_name(ground: Ground) -> bytes:
    return packet_value(fresh(ground, replace(ground.hostile, name=ground.victim.name)))


def victims_packet_with_our_signature(ground: Ground) -> bytes:
    raw = fresh(ground, ground.victim)
    return packet_value(raw[:-64] + ground.hostile.signer.sign(PACKET_PREFIX + raw[:-64]))


def ciphertext_signed_again(ground: Ground) -> bytes:
    """The victim's sealed values under our name and signature, with the victim's recipients."""
    ours, theirs = ground.hostile, fresh(ground, ground.victim)
    fields = {**ours.name._asdict(), "site_key": ours.signer.public.fingerprint}
    position = {"sequence": ours.sequence + 1, "previous_packet": ours.previous}
    return packet_value(resigned(ours, theirs, **fields, **position).raw)


def other_city(ground: Ground) -> bytes:
    name = ground.hostile.name._replace(city="unlocode:USSEA")
    return packet_value(fresh(ground, replace(ground.hostile, name=name)))


def another_incarnation(ground: Ground) -> bytes:
    """The same authorities set the ledger up anew: another genesis, so another chain."""
    return packet_value(fresh(ground, replace(ground.hostile, chain=secrets.token_bytes(32))))


def replayed(ground: Ground) -> bytes:
    return packet_value(ground.history[0])


def two_contents_under_one_sequence(ground: Ground) -> bytes:
    return changed(ground, sequence=ground.hostile.sequence)


def weak_nonce_signature(ground: Ground) -> bytes:
    """A signature whose R is the neutral element: some libraries accept it, others do not."""
    signer, raw = ground.hostile.signer, fresh(ground)[:-64]
    assert isinstance(signer, Ed25519Signer)
    secret = bytearray(sha512(signer.seed).digest()[:32])
    secret[0] &= 248
    secret[31] = secret[31] & 127 | 64
    nonce_point = b"\x01" + bytes(31)
    hashed = sha512(nonce_point + signer.public.raw + PACKET_PREFIX + raw).digest()
    scalar = int.from_bytes(hashed, "little") * int.from_bytes(secret, "little") % _ED25519_ORDER
    return packet_value(raw + nonce_point + scalar.to_bytes(32, "little"))


def other_half_of_an_ecdsa_signature(ground: Ground) -> bytes:
    raw = fresh(ground, ground.sites["p256"])
    r, s = raw[-64:-32], int.from_bytes(raw[-32:], "big")
    return packet_value(raw[:-32] + (_P256_ORDER - s).to_bytes(32, "big")) if r else b""


def ecdsa_where_ed25519_is_registered(ground: Ground) -> bytes:
    signer = P256Signer(secrets.token_bytes(32), Use.SITE)
    return packet_value(fresh(ground, replace(ground.hostile, signer=signer)))


def strong_suite_sealed_weakly(ground: Ground) -> bytes:
    return changed(ground, suite=int(Suite.XWING))


def stranger_as_the_only_reader(ground: Ground) -> bytes:
    sealed_key = parsed(fresh(ground)).recipients[0].sealed_key
    return changed(ground, recipients=[{"key": secrets.token_bytes(32), "sealed_key": sealed_key}])


def header_as_packet(ground: Ground) -> bytes:
    block = parse_certified(certified_body(ground.fates.blocks[-1]))
    assert block is not None
    return packet_value(encode_header(block[0].header))


def block_as_packet(ground: Ground) -> bytes:
    return ground.fates.blocks[0]


def oversized(ground: Ground) -> bytes:
    return packet_value(bytes(MAX_PACKET_BYTES + 1))


def too_old(ground: Ground) -> bytes:
    age_ms = Contract().max_age_ms + DAY_MS
    return packet_value(ground.hostile.packet([1], time_ms=ground.now_ms() - age_ms, advance=False))


REFUSED: Final[tuple[tuple[str, str, str, Make], ...]] = (
    ("packet of an unknown site", "DST-1 DST-8", "unknown_site", unknown_site),
    ("our key in another site's name", "DST-1 DST-4", "wrong_key", own_key_in_the_victims_name),
    (
        "another site's packet, signed by us",
        "DST-1 DST-4",
        "bad_signature",
        victims_packet_with_our_signature,
    ),
    ("ciphertext of another site, signed by us", "DST-5 DST-6", "unknown_recipient", ciphertext_signed_again),
    ("packet for another city", "DST-4", "unknown_site", other_city),
    ("packet of another incarnation", "DST-8", "wrong_chain", another_incarnation),
    ("old packet again", "DST-2 DST-6", "stale", replayed),
    ("two contents under one sequence", "DST-1", "equivocation", two_contents_under_one_sequence),
    (
        "packet before the one it follows",
        "DST-2",
        "broken_link",
        lambda ground: changed(
            ground, sequence=ground.hostile.sequence + 2, previous_packet=secrets.token_bytes(32)
        ),
    ),
    ("sequence 2^63-1", "DST-1", "sequence_jump", lambda ground: changed(ground, sequence=MAX_LONG)),
    ("sequence below zero", "DST-1", "out_of_range", lambda ground: changed(ground, sequence=-1)),
    ("signature with R of small order", "DST-5", "bad_signature", weak_nonce_signature),
    ("ECDSA signature (r, n-s)", "DST-5", "bad_signature", other_half_of_an_ecdsa_signature),
    ("ECDSA key where Ed25519 is registered", "DST-5", "wrong_key", ecdsa_where_ed25519_is_registered),
    ("unknown suite", "DST-6", "out_of_range", lambda ground: changed(ground, suite=99)),
    ("suite that was not granted", "DST-6", "suite_refused", strong_suite_sealed_weakly),
    ("stranger as the only reader", "DST-6", "unknown_recipient", stranger_as_the_only_reader),
    ("no reader at all", "DST-6", "out_of_range", lambda ground: changed(ground, recipients=[])),
    ("block header as a packet", "DST-8", "malformed", header_as_packet),
    ("certified block as a packet", "DST-8", "foreign_schema", block_as_packet),
    ("packet above the limit of size", "DST-2", "oversized", oversized),
    (
        "packet from the future",
        "DST-1",
        "too_new",
        lambda ground: changed(ground, collected_to=ground.now_ms() + DAY_MS),
    ),
    ("packet of last year", "DST-1", "too_old", too_old),
    ("random bytes", "DST-2", "foreign_schema", lambda _: b"\1" + secrets.token_bytes(400)),
)


def through_the_front_door(make: Make) -> Run:
    async def run(ground: Ground) -> str:
        value = make(ground)
        ground.fates.forget(value)
        await ground.as_site(value)
        return await ground.fates.of(value)

    return run


def straight_to_the_nodes(make: Make) -> Run:
    async def run(ground: Ground) -> str:
        value = make(ground)
        ground.fates.forget(value)
        await ground.past_validators(value)
        return await ground.fates.of(value)

    return run


async def same_packet_twice(ground: Ground) -> str:
    first, second = (ground.hostile.packet([value], time_ms=ground.now_ms()) for value in (7, 8))
    await ground.as_site(*map(packet_value, (first, first, second)))
    await ground.fates.of(packet_value(second))
    return f"in the ledger {ground.fates.committed[first]} time"


async def reordered(ground: Ground) -> str:
    first, second = (ground.hostile.packet([value], time_ms=ground.now_ms()) for value in (5, 6))
    await ground.as_site(*map(packet_value, (second, first)))
    fates = [await ground.fates.of(packet_value(raw)) for raw in (first, second)]
    await ground.as_site(packet_value(second))
    await ground.until(lambda: ground.fates.committed[second])
    return f"{fates[0]}, {fates[1]}, then admitted in order"


def opened(make: Callable[[Ground], bytes]) -> Run:
    """What the chain can't see, because it is sealed: the platform names it and publishes nothing of it."""

    async def run(ground: Ground) -> str:
        raw = make(ground)
        await ground.as_site(packet_value(raw))
        return await ground.stored(raw)

    return run


def sealed(ground: Ground, **fields: object) -> bytes:
    return ground.hostile.packet(time_ms=ground.now_ms(), **fields)  # type: ignore[arg-type]


def inner_records_of_the_victim(ground: Ground) -> bytes:
    return sealed(ground, records=[ground.hostile.record(1, ground.now_ms(), name=ground.victim.name)])


def inner_record_of_another_time(ground: Ground) -> bytes:
    return sealed(ground, records=[ground.hostile.record(1, ground.now_ms() - DAY_MS)])


def inner_garbage(ground: Ground) -> bytes:
    return sealed(ground, records=[secrets.token_bytes(80)])


def _advanced(ground: Ground, raw: bytes) -> bytes:
    packet = parsed(raw)
    ground.hostile.sequence, ground.hostile.previous = packet.sequence, packet.packet_id
    return raw


def false_digest(ground: Ground) -> bytes:
    site = ground.hostile
    fields: dict[str, Any] = dict.fromkeys(("collected_from", "collected_to"), ground.now_ms())
    fields |= {"sequence": site.sequence + 1, "previous_packet": site.previous}
    return _advanced(ground, Forge(site).packet(lambda plain: plain, **fields).raw)


def stolen_ciphertext(ground: Ground) -> bytes:
    """Ciphertext of the victim, addressed to the key that reads us."""
    site, theirs = ground.hostile, parsed(fresh(ground, ground.victim))
    reader = {"key": site.platform_key.public.fingerprint, "sealed_key": theirs.recipients[0].sealed_key}
    ours = resigned(
        site, fresh(ground), recipients=[reader], encrypted_kpi_data=theirs.encrypted, digest=theirs.digest
    )
    return _advanced(ground, ours.raw)


ATTACKS: Final = [
    *(
        Attack(name, threat, expected, through_the_front_door(make))
        for name, threat, expected, make in REFUSED
    ),
    *(
        Attack(f"{name}, to the nodes", threat, expected, straight_to_the_nodes(make))
        for name, threat, expected, make in REFUSED
    ),
    Attack("one packet sent twice", "DST-2", "in the ledger 1 time", same_packet_twice),
    Attack("packets in another order", "DST-2", "admitted, broken_link, then admitted in order", reordered),
    Attack(
        "inner records of another site", "DST-1", "mismatch: other_site", opened(inner_records_of_the_victim)
    ),
    Attack(
        "inner records of another time",
        "DST-1",
        "mismatch: outside_period",
        opened(inner_record_of_another_time),
    ),
    Attack("sealed garbage", "DST-1", "mismatch: bad_record", opened(inner_garbage)),
    Attack("false digest", "DST-1", "mismatch: wrong_digest", opened(false_digest)),
    Attack(
        "stolen ciphertext addressed to our reader",
        "DST-5",
        "mismatch: does_not_open",
        opened(stolen_ciphertext),
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_packet_that_must_not_count(attack: Attack, see: Callable[[Attack], Awaitable[str]]) -> None:
    assert await see(attack) == attack.expected
