"""What ends next is told: suites, the platform's keys, certificates here and elsewhere, authorities."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.tls.authority import LEAF_LIFETIME, Authority
from ops.tls.generation import PLAIN_CA_KEYS
from ops.tls.holders import Holders
from ops.tls.principal import Principal, Role
from ops.tls.profile import Branch
from ops.tls.replacing import begin
from ops.tls.revoked import REVOKED, Revocation, add_revocation
from pipeline.apps.cli.stack import tell_expiry
from pipeline.apps.local.expiries import read_expiries
from pipeline.core.contract import SuiteTerm
from pipeline.core.control import Revoke
from pipeline.core.expiries import DAY_MS, Expiry, chain_expiries, soonest
from pipeline.core.sealing import Suite
from pipeline.core.state import ChainState
from pipeline.services.registration import approve
from pipeline.services.rotation import rotate_sites
from tests.support.access import REPLY
from tests.support.office import Office
from tests.support.world import NOW_MS, TestSite

NOW = datetime.now(UTC).replace(microsecond=0)
LATER_MS = int(NOW.timestamp() * 1000)
NODE, SITE = Principal(Role.NODE, "node-1"), Principal(Role.SITE, "bridge-17")


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


async def let_in(office: Office, site: TestSite, days: int) -> None:
    """Let a site in with a key that is good for so many days."""
    with ExitStack() as stack:
        until = NOW_MS + days * DAY_MS
        await approve(office.desk(stack), office.request(site), office.make_key, valid_to=until, reply=REPLY)


async def state_of(office: Office) -> ChainState:
    with ExitStack() as stack:
        return await office.desk(stack).settle()


async def test_the_newest_key_of_each_active_site_counts_and_the_soonest_is_named(office: Office) -> None:
    sites = [office.world.site(number) for number in (1, 2, 3)]
    for site, days in zip(sites, (5, 20, 1), strict=True):
        await let_in(office, site, days)
    await office.issue(Revoke(sites[2].name, sites[2].signer.public.fingerprint, "test"))
    with ExitStack() as stack:
        desk, end = office.desk(stack), NOW_MS + 30 * DAY_MS
        await rotate_sites(desk, office.make_key, [sites[0].name], now_ms=NOW_MS, valid_to=end)
    (found,) = chain_expiries(await state_of(office))
    assert (found.kind, found.ends_ms) == ("platform key", NOW_MS + 20 * DAY_MS)
    assert found.name.startswith(str(sites[1].name))


async def test_suites_that_end_are_told_and_others_are_not(office: Office) -> None:
    state = await state_of(office)
    terms = (SuiteTerm(Suite.XWING), SuiteTerm(Suite.P256, NOW_MS + 2), SuiteTerm(Suite.LIGHT, NOW_MS + 1))
    state.contract = replace(state.contract, suites=terms)
    assert [(one.name, one.ends_ms) for one in chain_expiries(state)] == [
        ("light", NOW_MS + 1),
        ("p256", NOW_MS + 2),
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a node; a site's folder was carried away."""
    Holders(tmp_path, lambda: NOW).issue(NODE)
    for moment in (NOW - LEAF_LIFETIME / 2, NOW):
        Authority.load(tmp_path / "pki").issue(SITE, tmp_path / "away", now=moment)
    return tmp_path


def told(data: Path, at_ms: int = LATER_MS) -> dict[tuple[str, str], int]:
    return {(one.kind, one.name): one.ends_ms for one in read_expiries(data, at_ms)}


def test_certificates_and_authorities_are_told_by_their_files(data: Path) -> None:
    """Of those elsewhere by the register: the last one of each."""
    found = told(data)
    end = LATER_MS + LEAF_LIFETIME // timedelta(milliseconds=1)
    assert found["certificate", str(NODE)] == found["certificate elsewhere", str(SITE)] == end
    assert {name for kind, name in found if kind == "authority"} == {"root", "sites", "platform"}


def test_who_is_revoked_or_has_gone_for_good_is_not_told(data: Path) -> None:
    assert ("certificate elsewhere", str(SITE)) not in told(data, LATER_MS + 31 * DAY_MS)
    add_revocation(data / "pki" / REVOKED, str(SITE), Revocation("2026-11-21T00:00:00Z", "lost"))
    assert ("certificate elsewhere", str(SITE)) not in told(data)


def test_authorities_that_follow_are_told_too(data: Path) -> None:
    begin(data / "pki", Branch.SITES, keys=PLAIN_CA_KEYS, now=NOW)
    assert {("authority", "next root"), ("authority", "next sites")} <= told(data).keys()


def test_a_near_end_is_a_warning() -> None:
    key = Expiry("platform key", "A", LATER_MS + 6 * DAY_MS, 2)
    assert tell_expiry(key, LATER_MS).startswith("platform key A")
    assert tell_expiry(key, LATER_MS).endswith("in 6 days (first of 3)")
    assert tell_expiry(key, LATER_MS + 2 * DAY_MS).startswith("WARNING")
    assert tell_expiry(key, LATER_MS + 6 * DAY_MS).split(", ")[1].startswith("ended")
    assert list(soonest("suite", ())) == []
