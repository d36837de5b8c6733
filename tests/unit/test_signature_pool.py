"""Signatures that were checked ahead are looked up by all bytes of a packet, so that nothing passes for another."""

from collections.abc import Iterator

import pytest

from pipeline.apps.bench.packets import BenchSite
from pipeline.apps.bench.plan import BenchPlan, secret, site_signer
from pipeline.core.keys import PublicKey
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.sealing import Suite
from pipeline.core.state import START
from pipeline.services.signatures import SignaturePool

PLAN = BenchPlan(10, Suite.LIGHT, sites=2)
RAW = BenchSite(0, PLAN, secret("chain"), START).packet(0)


def packet(raw: bytes) -> Packet:
    found = parse_packet(raw)
    assert isinstance(found, Packet)
    return found


def key(number: int) -> PublicKey:
    return site_signer(number, PLAN.suite).public


@pytest.fixture
def pool() -> Iterator[SignaturePool]:
    found = SignaturePool(2)
    yield found
    found.close()


async def test_a_good_signature_does_not_vouch_for_another_under_the_same_bytes(pool: SignaturePool) -> None:
    forged = RAW[:-1] + bytes((RAW[-1] ^ 1,))
    check = await pool.check([(key(0), packet(RAW))])
    assert check(key(0), packet(RAW))
    assert packet(forged).packet_id == packet(RAW).packet_id
    assert not check(key(0), packet(forged))


async def test_a_bad_signature_in_the_same_batch_does_not_speak_against_a_good_one(
    pool: SignaturePool,
) -> None:
    forged = RAW[:-1] + bytes((RAW[-1] ^ 1,))
    for batch in ([RAW, forged], [forged, RAW]):
        check = await pool.check([(key(0), packet(raw)) for raw in batch])
        assert check(key(0), packet(RAW))
        assert not check(key(0), packet(forged))


async def test_a_signature_of_one_key_is_none_of_another(pool: SignaturePool) -> None:
    check = await pool.check([(key(0), packet(RAW))])
    assert not check(key(1), packet(RAW))


async def test_what_was_not_checked_ahead_is_checked_when_asked(pool: SignaturePool) -> None:
    check = await pool.check([])
    assert check(key(0), packet(RAW))
    assert not check(key(1), packet(RAW))
