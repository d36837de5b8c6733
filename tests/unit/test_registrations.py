"""The view of the site registrations: what it believes, and what it refuses to."""

from typing import Any

import pytest

from pipeline.core import avro
from pipeline.core.control import Enrol, Revoke, possession_message, sign_control
from pipeline.core.errors import TransientError
from pipeline.core.keys import Use
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.signing import Ed25519Signer
from pipeline.services.registrations import Registrations
from pipeline.services.site_directory import SiteDirectory
from schemas import schema
from tests.support.chain import MemoryReader, MemoryTopic
from tests.support.validation import registration_value
from tests.support.world import NOW_MS, TestSite, World, secret


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def site(world: World) -> TestSite:
    return world.site(1)


def judged(directory: SiteDirectory, site: TestSite) -> object:
    """Return what the directory says of a genuine packet of the site: its key, or the refusal."""
    packet = parse_packet(site.packet(advance=False))
    assert isinstance(packet, Packet)
    return directory.look_up(packet, NOW_MS)


def revocation(world: World, site: TestSite) -> bytes:
    return world.control(Revoke(site.name, site.signer.public.fingerprint, "lost"))


def test_an_enrolment_gives_the_key_to_check_with(world: World, site: TestSite) -> None:
    directory = SiteDirectory(world.genesis)
    assert judged(directory, site) is Outcome.UNKNOWN_SITE
    assert directory.apply(registration_value(world, world.enrolment(site)[0], 1)) is Outcome.ADMITTED
    assert judged(directory, site) == site.signer.public


def test_a_revocation_ends_an_enrolment_and_a_later_enrolment_ends_that(world: World, site: TestSite) -> None:
    directory = SiteDirectory(world.genesis)
    directory.apply(registration_value(world, world.enrolment(site)[0], 1))
    directory.apply(registration_value(world, revocation(world, site), 2))
    assert judged(directory, site) is Outcome.INACTIVE_SITE
    directory.apply(registration_value(world, world.enrolment(site)[0], 3))
    assert judged(directory, site) == site.signer.public


def test_a_packet_of_a_revoked_site_under_another_key_has_the_wrong_key(world: World, site: TestSite) -> None:
    directory = SiteDirectory(world.genesis)
    directory.apply(registration_value(world, revocation(world, site), 2))
    site.signer = Ed25519Signer(secret("another"), Use.SITE)
    assert judged(directory, site) is Outcome.WRONG_KEY


def test_an_old_registration_again_changes_nothing(world: World, site: TestSite) -> None:
    directory = SiteDirectory(world.genesis)
    enrolled = registration_value(world, world.enrolment(site)[0], 1)
    directory.apply(enrolled)
    assert directory.apply(enrolled) is Outcome.DUPLICATE
    directory.apply(registration_value(world, revocation(world, site), 2))
    assert directory.apply(enrolled) is Outcome.STALE
    assert judged(directory, site) is Outcome.INACTIVE_SITE


def test_a_false_height_does_not_bring_an_old_enrolment_back(world: World, site: TestSite) -> None:
    """The registrar's signed numbers decide, not what a node says of the place in the chain."""
    directory = SiteDirectory(world.genesis)
    enrolment = world.enrolment(site)[0]
    directory.apply(registration_value(world, revocation(world, site), 2))
    assert directory.apply(registration_value(world, enrolment, 2**60)) is Outcome.STALE
    assert judged(directory, site) is Outcome.INACTIVE_SITE


def test_nothing_is_believed_without_a_registrar_of_the_genesis_file(world: World, site: TestSite) -> None:
    stranger = Ed25519Signer(secret("stranger"), Use.REGISTRAR)
    body = Revoke(site.name, site.signer.public.fingerprint, "spite")
    raw = sign_control(world.genesis.chain, stranger, 1, bytes(32), body)
    assert SiteDirectory(world.genesis).apply(registration_value(world, raw, 1)) is Outcome.UNKNOWN_ISSUER


def test_a_forged_signature_of_a_registrar_is_noticed(world: World, site: TestSite) -> None:
    raw = revocation(world, site)
    forged = raw[:-10] + bytes((raw[-10] ^ 1,)) + raw[-9:]
    assert SiteDirectory(world.genesis).apply(registration_value(world, forged, 1)) is Outcome.BAD_SIGNATURE


def test_a_control_record_of_another_chain_is_refused(world: World, site: TestSite) -> None:
    raw = sign_control(bytes(32), world.registrar, 1, bytes(32), Revoke(site.name, bytes(32), "x"))
    value = registration_value(world, raw, 1)
    assert SiteDirectory(world.genesis).apply(value) is Outcome.WRONG_CHAIN


@pytest.mark.parametrize(
    "change", [{"active": False}, {"city": "unlocode:USSTP"}, {"country": "CA"}, {"site_id": bytes(16)}]
)
def test_unsigned_fields_must_say_what_the_control_record_says(
    world: World, site: TestSite, change: dict[str, Any]
) -> None:
    value = registration_value(world, world.enrolment(site)[0], 1, **change)
    assert SiteDirectory(world.genesis).apply(value) is Outcome.CONFLICTING


def test_records_that_concern_no_validator_are_refused(world: World, site: TestSite) -> None:
    """A key offer is a genuine control record, but not one that this topic is for."""
    offer = registration_value(world, world.enrolment(site)[1], 1)
    assert SiteDirectory(world.genesis).apply(offer) is Outcome.CONFLICTING


def test_an_enrolment_without_proof_of_possession_is_refused(world: World, site: TestSite) -> None:
    key = site.signer.public
    other = Ed25519Signer(secret("other"), Use.SITE)
    proof = other.sign(possession_message(world.genesis.chain, site.name, key.fingerprint))
    raw = world.control(Enrol(site.name, key.algorithm, key.raw, proof, (site.suite,), ("LOCAL:X",)))
    assert SiteDirectory(world.genesis).apply(registration_value(world, raw, 1)) is Outcome.BAD_POSSESSION


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (None, Outcome.EMPTY),
        (b"rubbish", Outcome.FOREIGN_SCHEMA),
        (bytes(60_000), Outcome.OVERSIZED),
        (avro.frame(schema("SiteRegistration"), b"\1"), Outcome.MALFORMED),
    ],
)
def test_rubbish_is_refused_by_name(world: World, value: bytes | None, outcome: Outcome) -> None:
    assert SiteDirectory(world.genesis).apply(value) is outcome


async def test_the_view_follows_the_topic(world: World, site: TestSite) -> None:
    """What is appended after loading is known after the next refresh, without waiting."""
    topic = MemoryTopic("kpi.sites.v1")
    view = Registrations(world.genesis, MemoryReader(topic))
    await view.load()
    topic.values.append(registration_value(world, world.enrolment(site)[0], 1))
    await view.refresh()
    assert judged(view.directory, site) == site.signer.public


async def test_a_topic_cut_below_our_position_is_read_again_and_nothing_forgotten(world: World) -> None:
    known, new = world.site(1), world.site(2)
    topic = MemoryTopic("kpi.sites.v1", [registration_value(world, world.enrolment(known)[0], 1)])
    view = Registrations(world.genesis, MemoryReader(topic))
    await view.load()
    topic.first, topic.values = 5, [None] * 5 + [registration_value(world, world.enrolment(new)[0], 2)]
    await view.catch_up(1)
    assert judged(view.directory, known) == known.signer.public
    assert judged(view.directory, new) == new.signer.public


async def test_kafka_away_is_told_as_a_passing_fault(world: World) -> None:
    reader = MemoryReader(MemoryTopic("kpi.sites.v1"))
    view = Registrations(world.genesis, reader)
    await view.load()
    reader.fail_next = 1
    with pytest.raises(TransientError):
        await view.refresh()
