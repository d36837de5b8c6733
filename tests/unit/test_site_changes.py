"""Changes of enrolled sites by the registrar: what the chain admits of them before and after, and repeats of each."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.control import Amend
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.sealing import SealingKey, Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.services.access import AccessAnswer, Moment, read_request
from pipeline.services.site_changes import Rights, amend, resume, revoke, suspend, transfer
from tests.support.access import REPLY, request_of
from tests.support.office import INDICATOR, Office
from tests.support.world import NOW_MS, TestSite, secret

OVERLAP_MS = 60_000


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """An office with an empty ledger."""
    return Office(tmp_path)


async def let_in(office: Office, number: int = 1, suite: Suite = Suite.LIGHT) -> TestSite:
    """Return a site that was approved and knows its platform key."""
    site = office.world.site(number, suite)
    answer = await office.approve(site)
    offer = answer.offer_for(suite)
    assert offer is not None
    site.platform_key = key_of(office, offer.key.fingerprint)
    return site


def key_of(office: Office, fingerprint: bytes) -> SealingKey:
    """Return a sealing key of the platform."""
    return office.keys[fingerprint]


def admitted(office: Office, raw: bytes) -> bool:
    """Whether a packet gets into a block."""
    before = len(office.ledger.chain.blocks)
    office.ledger.chain.packets(raw)
    office.ledger.publish()
    return len(office.ledger.chain.blocks) > before


def successor(site: TestSite) -> TestSite:
    """Return the same site under a new key, at the same place in its chain of packets."""
    return replace(site, signer=Ed25519Signer(secret("next key"), Use.SITE))


async def moved(
    office: Office, new: TestSite, former: TestSite | None, *, lost: bool = False, overlap: int = OVERLAP_MS
) -> AccessAnswer:
    """Transfer a site to a new key."""
    raw = request_of(office.world.genesis, new, moment=Moment(secret("move"), NOW_MS), former=former)
    with ExitStack() as stack:
        return await transfer(
            office.desk(stack),
            read_request(raw, office.world.genesis),
            office.make_key,
            valid_to=MAX_TIME_MS,
            reply=REPLY,
            overlap_until_ms=NOW_MS + overlap,
            is_key_lost=lost,
        )


async def amended(office: Office, site: TestSite, rights: Rights) -> AccessAnswer:
    """Give a site other rights."""
    with ExitStack() as stack:
        return await amend(
            office.desk(stack), site.name, rights, office.make_key, valid_to=MAX_TIME_MS, reply=REPLY
        )


async def test_a_suspended_site_is_refused_and_goes_on_with_the_same_packet_when_resumed(
    office: Office,
) -> None:
    site = await let_in(office)
    assert admitted(office, site.packet())
    waiting = site.packet()
    with ExitStack() as stack:
        await suspend(office.desk(stack), site.name, "repair")
    assert not admitted(office, waiting)
    with ExitStack() as stack:
        await resume(office.desk(stack), site.name, "repaired")
    assert admitted(office, waiting)


async def test_suspending_and_resuming_twice_issues_nothing_new(office: Office) -> None:
    site = await let_in(office)
    for change, count in ((suspend, 3), (suspend, 3), (resume, 4), (resume, 4)):
        with ExitStack() as stack:
            await change(office.desk(stack), site.name, "test")
        assert len(office.ledger.controls) == count


async def test_a_revoked_site_can_be_neither_resumed_nor_amended_nor_transferred(office: Office) -> None:
    site = await let_in(office)
    for _ in range(2):
        with ExitStack() as stack:
            await revoke(office.desk(stack), site.name, "key-lost")
    assert len(office.ledger.controls) == 3
    with ExitStack() as stack, pytest.raises(ConfigError, match="is revoked"):
        await resume(office.desk(stack), site.name, "test")
    with pytest.raises(ConfigError, match="is revoked"):
        await amended(office, site, Rights((Suite.LIGHT,), (INDICATOR,), ()))
    with pytest.raises(ConfigError, match="is revoked"):
        await moved(office, successor(site), site)


async def test_a_new_key_goes_on_in_the_chain_of_the_former_one(office: Office) -> None:
    site = await let_in(office)
    assert admitted(office, site.packet())
    new = successor(site)
    answer = await moved(office, new, site)
    assert answer.site_key == new.signer.public.fingerprint
    assert answer.former_until_ms == NOW_MS + OVERLAP_MS
    assert admitted(office, site.packet()), "the former key is admitted during the overlap"
    new.sequence, new.previous = site.sequence, site.previous
    assert admitted(office, new.packet())


async def test_the_former_key_ends_with_the_overlap(office: Office) -> None:
    site = await let_in(office)
    await moved(office, successor(site), site, overlap=-1)
    assert not admitted(office, site.packet())


async def test_a_lost_key_ends_at_once_and_the_new_one_goes_on(office: Office) -> None:
    site = await let_in(office)
    assert admitted(office, site.packet())
    new = successor(site)
    answer = await moved(office, new, None, lost=True)
    assert answer.former_until_ms == 0
    stolen = site.packet(advance=False)
    assert not admitted(office, stolen)
    assert admitted(office, new.packet())


async def test_a_new_key_that_nobody_vouches_for_is_refused(office: Office) -> None:
    site, stranger = await let_in(office), await let_in(office, 2)
    count = len(office.ledger.controls)
    for former in (None, stranger):
        with pytest.raises(ConfigError, match="did not sign the request"):
            await moved(office, successor(site), former)
    assert len(office.ledger.controls) == count


async def test_a_transfer_that_was_cut_off_is_completed_by_running_it_again(office: Office) -> None:
    site = await let_in(office)
    new = successor(site)
    office.ledger.crash = "before"
    with pytest.raises(TransientError):
        await moved(office, new, site)
    answer = await moved(office, new, site)
    assert answer.site_key == new.signer.public.fingerprint
    assert sum(isinstance(control.body, Amend) for control in office.ledger.controls) == 1


async def test_rights_change_under_the_same_key(office: Office) -> None:
    site = await let_in(office)
    wanted = Rights((Suite.LIGHT,), (INDICATOR, "LOCAL:TRAVEL_TIME"), (bytes(16),))
    answer = await amended(office, site, wanted)
    assert (answer.suites, answer.indicators, answer.equipment) == (
        wanted.suites,
        wanted.indicators,
        wanted.equipment,
    )
    assert admitted(office, site.packet())


async def test_a_suite_that_is_added_comes_with_a_key_of_the_platform_for_it(office: Office) -> None:
    site = await let_in(office)
    answer = await amended(office, site, Rights((Suite.XWING, Suite.LIGHT), (INDICATOR,), ()))
    assert answer.offer_for(Suite.XWING) is not None
    assert [offer.epoch for offer in answer.offers] == [1, 2]


async def test_a_suite_that_was_taken_away_is_refused(office: Office) -> None:
    site = await let_in(office)
    await amended(office, site, Rights((Suite.XWING,), (INDICATOR,), ()))
    assert not admitted(office, site.packet())


async def test_a_suite_for_another_kind_of_key_is_refused(office: Office) -> None:
    site = await let_in(office)
    with pytest.raises(ConfigError, match="p256"):
        await amended(office, site, Rights((Suite.P256,), (INDICATOR,), ()))


async def test_rights_that_are_so_already_issue_nothing(office: Office) -> None:
    site = await let_in(office)
    await amended(office, site, Rights((Suite.LIGHT,), (INDICATOR,), ()))
    assert len(office.ledger.controls) == 2


async def test_every_key_that_the_ledger_ever_had_is_known_with_its_proof(office: Office) -> None:
    site = await let_in(office)
    new = successor(site)
    await moved(office, new, site)
    with ExitStack() as stack:
        desk = office.desk(stack)
        await desk.settle()
        assert desk.possessions.keys() == {
            site.signer.public.fingerprint,
            new.signer.public.fingerprint,
        }
