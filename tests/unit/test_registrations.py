"""The view of the site registrations: what it believes, and what it refuses to."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.core import avro
from pipeline.core.contract import SuiteTerm
from pipeline.core.control import (
    Amend,
    Enrol,
    NewContract,
    Registrars,
    Resume,
    Revoke,
    Suspend,
    possession_message,
    sign_control,
)
from pipeline.core.errors import TransientError
from pipeline.core.keys import Use
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.sealing import Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.topics import Topics
from pipeline.services.accounting.publication import registrations
from pipeline.services.registrations import Registrations
from pipeline.services.site_directory import SiteDirectory
from schemas import schema
from tests.support.admission_case import Case
from tests.support.chain import MemoryReader, MemoryTopic
from tests.support.validation import registration_value
from tests.support.world import NOW_MS, TestSite, World, control_value, secret


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


def amended(world: World, site: TestSite, signer: Ed25519Signer, until_ms: int) -> bytes:
    public = signer.public
    claim = signer.sign(possession_message(world.genesis.chain, site.name, public.fingerprint))
    former = site.signer.public.fingerprint
    body = Amend(
        site.name, former, until_ms, public.algorithm, public.raw, claim, (site.suite,), ("LOCAL:X",)
    )
    return world.control(body)


def authority_value(world: World, control: bytes, height: int) -> bytes:
    kind = schema("AuthorityRegistration")
    fields = {"chain": world.genesis.chain, "height": height, "entry": 0, "control": control}
    return avro.frame(kind, avro.encode(kind, fields))


def test_a_suspended_site_is_refused_until_it_is_resumed(world: World, site: TestSite) -> None:
    directory, key = SiteDirectory(world.genesis), site.signer.public.fingerprint
    directory.apply(registration_value(world, world.enrolment(site)[0], 1))
    directory.apply(registration_value(world, world.control(Suspend(site.name, key, "audit")), 2))
    assert judged(directory, site) is Outcome.SUSPENDED_SITE
    directory.apply(registration_value(world, world.control(Resume(site.name, key, "good")), 3))
    assert judged(directory, site) == site.signer.public


@pytest.mark.parametrize(("until_ms", "known"), [(NOW_MS, True), (NOW_MS - 1, False), (0, False)])
def test_a_replaced_key_is_known_until_its_overlap_ends(
    world: World, site: TestSite, until_ms: int, known: bool
) -> None:
    directory, new = SiteDirectory(world.genesis), Ed25519Signer(secret("new"), Use.SITE)
    directory.apply(registration_value(world, world.enrolment(site)[0], 1))
    directory.apply(registration_value(world, amended(world, site, new, until_ms), 2))
    assert judged(directory, site) == (site.signer.public if known else Outcome.WRONG_KEY)
    site.signer = new
    assert judged(directory, site) == new.public


def test_what_a_replaced_registrar_signs_later_does_not_count_and_what_it_signed_before_does(
    world: World, site: TestSite
) -> None:
    second = Ed25519Signer(secret("second"), Use.REGISTRAR)
    replaced = authority_value(world, world.by_roots(world.state(), Registrars((second.public,))), 2)
    enrolment, other = world.enrolment(site)[0], world.site(2)
    late = registration_value(world, world.enrolment(other)[0], 3)
    directory = SiteDirectory(world.genesis)
    assert directory.apply(replaced) is Outcome.ADMITTED
    assert directory.apply(registration_value(world, enrolment, 1)) is Outcome.ADMITTED
    assert directory.apply(late) is Outcome.UNKNOWN_ISSUER


def test_registrars_are_replaced_by_enough_root_keys_alone(world: World) -> None:
    second = Ed25519Signer(secret("second"), Use.REGISTRAR)
    body = Registrars((second.public,))
    for control in (world.control(body), world.by_roots(world.state(), body, world.roots[0])):
        assert SiteDirectory(world.genesis).apply(authority_value(world, control, 1)) is Outcome.BAD_SIGNATURE


def test_a_later_contract_counts_and_an_earlier_one_does_not_come_back(world: World, site: TestSite) -> None:
    directory, state = SiteDirectory(world.genesis), world.state()
    directory.apply(registration_value(world, world.enrolment(site)[0], 1))
    stricter = replace(world.genesis.contract, version=3, suites=(SuiteTerm(Suite.XWING),))
    assert directory.apply(authority_value(world, world.by_roots(state, NewContract(stricter)), 2)) is (
        Outcome.ADMITTED
    )
    assert judged(directory, site) is Outcome.SUITE_REFUSED
    older = NewContract(replace(world.genesis.contract, version=2))
    assert directory.apply(authority_value(world, world.by_roots(state, older), 3)) is Outcome.STALE


def test_a_compacted_topic_gives_the_same_view(world: World, site: TestSite) -> None:
    """Of every key the last record stays; replaced keys, suspensions and registrars must not get lost by it."""
    case = Case(world)
    key, new = case.site.signer.public.fingerprint, Ed25519Signer(secret("new"), Use.SITE)
    records = [
        world.control(Suspend(case.site.name, key, "audit")),
        world.control(Resume(case.site.name, key, "good")),
        amended(world, case.site, new, NOW_MS),
        world.control(Suspend(case.site.name, new.public.fingerprint, "audit")),
    ]
    for raw in records:
        assert case.feed(control_value(raw)) is Outcome.ADMITTED
    (block,) = case.deriver.close()
    sent = registrations(world.genesis, Topics(), block.block)
    last = {item.key: number for number, item in enumerate(sent)}
    compacted = [sent[number] for number in sorted(last.values())]
    views = []
    for topic in (sent, compacted):
        directory = SiteDirectory(world.genesis)
        for item in topic:
            assert directory.apply(item.value) is Outcome.ADMITTED
        views.append(directory.look_up(parsed_packet(case.site), NOW_MS))
    assert len(compacted) < len(sent)
    assert views == [Outcome.SUSPENDED_SITE] * 2


def parsed_packet(site: TestSite) -> Packet:
    packet = parse_packet(site.packet(advance=False))
    assert isinstance(packet, Packet)
    return packet
