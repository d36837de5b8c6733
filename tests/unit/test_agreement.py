"""Which suite and key a site agrees to: the strongest granted, the newest key, never back and never weaker."""

from dataclasses import replace

import pytest

from pipeline.core.agreement import Agreed, Entitlement, Hold, Standing, agree, with_offer
from pipeline.core.contract import Contract, SuiteTerm
from pipeline.core.keys import Algorithm
from pipeline.core.sealing import PRIVATE_BYTES, SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.state import Offer
from tests.support.world import NOW_MS, secret

CONTRACT = Contract()
LATER = NOW_MS + 1000
ALL = (Suite.XWING, Suite.LIGHT, Suite.P256)


def offer(suite: Suite, epoch: int, valid_to: int = LATER) -> Offer:
    algorithm = SEALING_ALGORITHM[suite]
    key = SealingKey(algorithm, secret(f"offer{suite}{epoch}", PRIVATE_BYTES[algorithm]))
    return Offer(epoch, key.public, valid_to)


def entitled(*offers: Offer, suites: tuple[Suite, ...] = (Suite.XWING,)) -> Entitlement:
    return Entitlement(bytes(32), suites, ("LOCAL:TRAFFIC_SPEED",), (), offers)


def choice(
    found: Entitlement,
    contract: Contract = CONTRACT,
    *,
    floor: Suite = Suite.LIGHT,
    now_ms: int = NOW_MS,
    signing: Algorithm = Algorithm.ED25519,
) -> tuple[Suite, int] | Hold:
    agreed = agree(found, contract, signing, floor, now_ms)
    return (agreed.suite, agreed.offer.epoch) if isinstance(agreed, Agreed) else agreed


def test_the_key_of_the_highest_epoch_is_taken_whatever_came_last() -> None:
    found = entitled(offer(Suite.XWING, 3), offer(Suite.XWING, 1), offer(Suite.XWING, 2))
    assert choice(found) == (Suite.XWING, 3)


def test_an_ended_key_is_not_replaced_by_an_earlier_one_that_lasts_longer() -> None:
    found = entitled(offer(Suite.XWING, 1, NOW_MS + 9999), offer(Suite.XWING, 2, NOW_MS - 1))
    assert choice(found) is Hold.KEY_EXPIRED


def test_a_key_is_good_through_its_last_millisecond() -> None:
    found = entitled(offer(Suite.XWING, 1))
    assert choice(found, now_ms=LATER) == (Suite.XWING, 1)
    assert choice(found, now_ms=LATER + 1) is Hold.KEY_EXPIRED


def test_the_strongest_granted_suite_is_taken_in_any_order() -> None:
    offers = (offer(Suite.XWING, 1), offer(Suite.LIGHT, 2))
    for suites in ((Suite.XWING, Suite.LIGHT), (Suite.LIGHT, Suite.XWING)):
        assert choice(entitled(*offers, suites=suites)) == (Suite.XWING, 1)


def test_a_missing_or_ended_key_of_the_strongest_suite_is_no_reason_for_a_weaker_one() -> None:
    light, both = offer(Suite.LIGHT, 2), (Suite.XWING, Suite.LIGHT)
    assert choice(entitled(light, suites=both)) is Hold.NO_KEY
    assert choice(entitled(offer(Suite.XWING, 1, NOW_MS - 1), light, suites=both)) is Hold.KEY_EXPIRED


def test_an_ended_suite_is_no_reason_for_a_weaker_one() -> None:
    contract = Contract(suites=(SuiteTerm(Suite.XWING, NOW_MS - 1), SuiteTerm(Suite.LIGHT)))
    found = entitled(offer(Suite.XWING, 1), offer(Suite.LIGHT, 2), suites=(Suite.XWING, Suite.LIGHT))
    assert choice(found, contract) is Hold.SUITE_EXPIRED


def test_a_grant_below_the_suite_that_the_site_was_let_in_with_is_not_followed() -> None:
    found = entitled(offer(Suite.LIGHT, 9), suites=(Suite.LIGHT,))
    assert choice(found, floor=Suite.XWING) is Hold.WEAKER_SUITE


def test_a_suite_of_another_signing_algorithm_is_none_of_the_sites() -> None:
    found = entitled(offer(Suite.XWING, 1), offer(Suite.P256, 2), suites=ALL)
    assert choice(found, signing=Algorithm.ECDSA_P256) == (Suite.P256, 2)


@pytest.mark.parametrize("standing", [Standing.SUSPENDED, Standing.REVOKED])
def test_a_site_that_is_not_active_agrees_to_nothing(standing: Standing) -> None:
    found = replace(entitled(offer(Suite.XWING, 1)), standing=standing)
    assert choice(found) is Hold(standing.value)


def test_the_end_of_the_suite_is_told_with_the_agreement() -> None:
    contract = Contract(suites=(SuiteTerm(Suite.XWING, LATER),))
    agreed = agree(entitled(offer(Suite.XWING, 1)), contract, Algorithm.ED25519, Suite.XWING, NOW_MS)
    assert isinstance(agreed, Agreed)
    assert agreed.suite_ends_ms == LATER


def test_an_epoch_keeps_the_key_that_was_offered_first() -> None:
    first, second = offer(Suite.XWING, 1), replace(offer(Suite.XWING, 2), epoch=1)
    assert with_offer((first,), second) == (first,)
