"""Rotation by the registrar: who is due, what is offered, and that a crash neither skips nor doubles a site."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.core.control import KeyOffer, Revoke
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.keys import Algorithm
from pipeline.core.sealing import SEALING_ALGORITHM, Suite
from pipeline.core.state import ChainState
from pipeline.services.registration import approve
from pipeline.services.rotation import DAY_MS, Rotated, due, rotate_due, rotate_sites
from tests.support.access import REPLY
from tests.support.office import Office
from tests.support.world import NOW_MS, TestSite

END = NOW_MS + 30 * DAY_MS
LEAD = 10 * DAY_MS


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """An office with an empty ledger."""
    return Office(tmp_path)


async def let_in(office: Office, site: TestSite, days: int) -> None:
    """Let a site in with a key that is good for so many days."""
    with ExitStack() as stack:
        until = NOW_MS + days * DAY_MS
        await approve(office.desk(stack), office.request(site), office.make_key, valid_to=until, reply=REPLY)


async def rotate(office: Office, *, at: int = NOW_MS) -> list[Rotated]:
    """Rotate what is due, with a program of its own."""
    with ExitStack() as stack:
        desk, end = office.desk(stack), at + 30 * DAY_MS
        return await rotate_due(desk, office.make_key, now_ms=at, lead_ms=LEAD, valid_to=end)


async def test_a_site_whose_key_ends_within_the_lead_gets_the_next_epoch_and_others_keep_theirs(
    office: Office,
) -> None:
    soon, later = office.world.site(1), office.world.site(2)
    await let_in(office, soon, 10)
    await let_in(office, later, 11)
    (rotated,) = await rotate(office)
    assert (rotated.site, rotated.offer.epoch, rotated.offer.valid_to) == (soon.name, 2, END)
    assert rotated.offer.key.fingerprint in office.keys
    assert await rotate(office) == []


async def test_a_packet_sealed_to_the_key_before_is_admitted_after_the_rotation(office: Office) -> None:
    site = office.world.site(1)
    await let_in(office, site, 1)
    offers = (await office.settle()).tables.offers[site.name]
    site.platform_key = office.keys[offers[0].key.fingerprint]
    spooled = site.packet()
    await rotate(office)
    office.ledger.chain.packets(spooled)
    assert office.ledger.chain.blocks[-1].block.header.entry_count == 1


async def test_a_revoked_site_gets_no_keys(office: Office) -> None:
    site = office.world.site(1)
    await let_in(office, site, 1)
    await office.issue(Revoke(site.name, site.signer.public.fingerprint, "test"))
    assert await rotate(office) == []


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_in_a_rotation_skips_and_doubles_no_site(office: Office, moment: str) -> None:
    sites = [office.world.site(number) for number in (1, 2, 3)]
    for site in sites:
        await let_in(office, site, 1)
    office.ledger.crash = moment
    with pytest.raises(TransientError):
        await rotate(office)
    await rotate(office)
    epochs = [control.body.epoch for control in office.ledger.controls if isinstance(control.body, KeyOffer)]
    assert sorted(epochs) == [1, 1, 1, 2, 2, 2]


async def test_a_named_site_is_rotated_whenever_it_is_wanted(office: Office) -> None:
    site = office.world.site(1, Suite.XWING)
    await let_in(office, site, 30)
    with ExitStack() as stack:
        desk = office.desk(stack)
        found = await rotate_sites(desk, office.make_key, [site.name], now_ms=NOW_MS, valid_to=END)
    assert [(item.offer.epoch, item.offer.key.algorithm) for item in found] == [(2, Algorithm.XWING)]


async def test_an_unknown_name_among_them_keeps_all_back(office: Office) -> None:
    site = office.world.site(1)
    await let_in(office, site, 30)
    with ExitStack() as stack, pytest.raises(ConfigError, match="not enrolled"):
        names = [site.name, office.world.site(9).name]
        await rotate_sites(office.desk(stack), office.make_key, names, now_ms=NOW_MS, valid_to=END)
    assert len((await office.settle()).tables.offers[site.name]) == 1


@pytest.mark.parametrize(("days", "message"), [(32, "at most 31 days"), (10, "due again at once")])
async def test_an_epoch_is_at_most_a_month_and_longer_than_the_lead(
    office: Office, days: int, message: str
) -> None:
    with ExitStack() as stack, pytest.raises(ConfigError, match=message):
        until = NOW_MS + days * DAY_MS
        await rotate_due(office.desk(stack), office.make_key, now_ms=NOW_MS, lead_ms=LEAD, valid_to=until)


async def test_a_kind_of_key_that_a_site_lacks_is_due(office: Office) -> None:
    site = office.world.site(1)
    await let_in(office, site, 30)
    state: ChainState = await office.settle()
    state.tables.offers[site.name] = ()
    assert due(state, NOW_MS, LEAD) == {site.name: [SEALING_ALGORITHM[site.suite]]}
