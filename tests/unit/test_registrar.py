"""The registrar's desk: records that the chain admits, through crashes, refusals and lost files."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.adapters.journal_file import JournalFile
from pipeline.core.admission import CONTROL_SCHEMA
from pipeline.core.avro import frame
from pipeline.core.control import Enrol, KeyOffer, Revoke
from pipeline.core.errors import ConfigError, ConflictError, IntegrityError, TransientError
from pipeline.core.issuing import Journal
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.sealing import Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import START, Position
from pipeline.services.registrar import Registrar
from pipeline.services.registration import answer_for, approve, offer_anew
from tests.support.access import REPLY
from tests.support.office import Office
from tests.support.world import NOW_MS, TestSite, packet_value, secret


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """An office with an empty ledger."""
    return Office(tmp_path)


def revoke(site: TestSite) -> Revoke:
    """Return the revocation of a site."""
    return Revoke(site.name, site.signer.public.fingerprint, "test")


@pytest.mark.parametrize("suite", list(Suite))
async def test_an_approved_site_can_send(office: Office, suite: Suite) -> None:
    """A packet sealed to the key of the answer is admitted."""
    site = office.world.site(1, suite)
    answer = await office.approve(site)
    offer = answer.offer_for(suite)
    assert offer is not None
    site.platform_key = office.keys[offer.key.fingerprint]
    office.ledger.chain.packets(site.packet())
    assert office.ledger.chain.blocks[-1].block.header.entry_count == 1


async def test_approving_twice_issues_nothing_new(office: Office) -> None:
    site = office.world.site(1)
    assert await office.approve(site) == await office.approve(site)
    assert [type(control.body) for control in office.ledger.controls] == [Enrol, KeyOffer]


async def test_only_asked_indicators_can_be_granted(office: Office) -> None:
    request = office.request(office.world.site(1))
    with ExitStack() as stack, pytest.raises(ConfigError, match="did not ask for OTHER"):
        await approve(
            office.desk(stack), request, office.make_key, valid_to=1, reply=REPLY, indicators=("OTHER",)
        )
    assert office.ledger.sent == []


async def test_another_key_for_an_enrolled_site_is_refused(office: Office) -> None:
    site, thief = office.world.site(1), office.world.site(2)
    thief.name = site.name
    await office.approve(site)
    with pytest.raises(ConfigError, match="registrar transfer"):
        await office.approve(thief)


async def test_a_site_can_come_back_with_a_new_key_after_its_revocation(office: Office) -> None:
    site, renewed = office.world.site(1), office.world.site(2)
    renewed.name = site.name
    await office.approve(site)
    await office.issue(revoke(site))
    answer = await office.approve(renewed)
    assert answer.site_key == renewed.signer.public.fingerprint
    assert [offer.epoch for offer in answer.offers] == [1, 2]


async def test_a_replayed_enrolment_does_not_undo_a_revocation(office: Office) -> None:
    """The old record's bytes are good, but its place in the registrar's sequence is taken."""
    site = office.world.site(1)
    await office.approve(site)
    await office.issue(revoke(site))
    office.ledger.chain.block(office.ledger.sent[0], office.ledger.sent[1])
    office.ledger.publish()
    assert not (await office.settle()).tables.sites[site.name].active


async def test_a_revoked_site_has_no_answer(office: Office) -> None:
    site = office.world.site(1)
    await office.approve(site)
    await office.issue(revoke(site))
    with pytest.raises(ConfigError, match="is revoked"):
        answer_for(await office.settle(), site.name, REPLY)


async def test_a_fresh_offer_has_the_next_epoch_and_another_key(office: Office) -> None:
    site = office.world.site(1)
    first = await office.approve(site)
    with ExitStack() as stack:
        second = await offer_anew(
            office.desk(stack), site.name, office.make_key, valid_to=MAX_TIME_MS, reply=REPLY
        )
    assert [offer.epoch for offer in second.offers] == [1, 2]
    assert second.offers[0] == first.offers[0]
    assert second.offers[1].key != first.offers[0].key


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_while_sending_loses_and_doubles_nothing(office: Office, moment: str) -> None:
    site = office.world.site(1)
    office.ledger.crash = moment
    with pytest.raises(TransientError):
        await office.approve(site)
    await office.approve(site)
    assert [control.sequence for control in office.ledger.controls] == [1, 2]
    assert len(office.keys) == 1


async def test_a_record_that_waits_for_its_block_is_kept_and_sent_again_as_it_was(office: Office) -> None:
    site = office.world.site(1)
    office.ledger.is_held = True
    with pytest.raises(TransientError) as caught:
        await office.approve(site)
    assert caught.value.code == "not_committed"
    first = list(office.ledger.sent)
    office.ledger.is_held = False
    await office.approve(site)
    assert office.ledger.sent == first * 2
    assert [control.sequence for control in office.ledger.controls] == [1, 2]


async def test_a_lost_journal_is_made_good_by_the_ledger(office: Office) -> None:
    await office.approve(office.world.site(1))
    for path in office.folder.glob("*.journal"):
        path.unlink()
    await office.approve(office.world.site(2))
    assert [control.sequence for control in office.ledger.controls] == [1, 2, 3, 4]


async def test_what_the_chain_would_refuse_is_not_sent(office: Office) -> None:
    with pytest.raises(ConfigError, match=r"Revoke for .*: unknown site"):
        await office.issue(revoke(office.world.site(1)))
    assert office.ledger.sent == []


async def test_one_refused_record_keeps_the_whole_batch_back(office: Office) -> None:
    site = office.world.site(1)
    await office.approve(site)
    with pytest.raises(ConfigError, match="conflicting"):
        await office.issue(revoke(site), revoke(site))
    assert (await office.settle()).tables.sites[site.name].active


async def test_a_kept_record_that_can_not_be_admitted_any_more_is_dropped_aloud(office: Office) -> None:
    stale = Registrar(office.world.registrar, office.world.genesis).issue(revoke(office.world.site(1)))
    with JournalFile(office.folder / "registrar.json", office.world.genesis.chain) as journal:
        journal.save(Journal(START, (stale.raw,)))
    with pytest.raises(ConflictError, match="unknown site"):
        await office.settle()
    await office.approve(office.world.site(1))


async def test_a_stranger_with_the_registrars_key_is_noticed(office: Office) -> None:
    """The ledger holds another record than ours at a sequence that we used."""
    office.ledger.crash = "before"
    with pytest.raises(TransientError):
        await office.approve(office.world.site(1))
    office.ledger.chain.block(frame(CONTROL_SCHEMA, office.world.enrolment(office.world.site(2))[0]))
    office.ledger.publish()
    with pytest.raises(IntegrityError) as caught:
        await office.approve(office.world.site(1))
    assert caught.value.code == "issuer_key_shared"


async def test_a_ledger_that_ends_before_what_was_seen_in_it_stops_the_desk(office: Office) -> None:
    await office.approve(office.world.site(1))
    office.ledger.topic.values.clear()
    with pytest.raises(TransientError) as caught:
        await office.approve(office.world.site(2))
    assert caught.value.code == "ledger_behind"


async def test_one_command_at_a_time_works_with_a_key(office: Office) -> None:
    with ExitStack() as stack:
        office.desk(stack)
        with pytest.raises(TransientError, match="another registrar command"):
            office.desk(stack)


def test_a_damaged_journal_is_named_with_the_remedy(office: Office) -> None:
    with JournalFile(office.folder / "registrar.json", office.world.genesis.chain) as journal:
        for content in ("", "[]", '{"format": 1}', '{"format": "bkdms-registrar-journal/v1", "sequence": 1}'):
            journal.path.write_text(content)
            journal.path.chmod(0o600)
            with pytest.raises(ConfigError, match="is damaged; delete it"):
                journal.load()


def test_only_a_key_of_the_genesis_file_makes_a_registrar(office: Office) -> None:
    with pytest.raises(ConfigError, match="not in the genesis file"):
        Registrar(Ed25519Signer(secret("mallory"), Use.REGISTRAR), office.world.genesis)


def test_records_continue_from_one_another(office: Office) -> None:
    registrar = Registrar(office.world.registrar, office.world.genesis, Position(6, bytes(32)))
    site = office.world.site(1)
    first = registrar.enrol(office.request(site))
    second = registrar.backfill(site.name, 0, NOW_MS, MAX_TIME_MS)
    assert (first.sequence, second.sequence) == (7, 8)
    assert second.previous == first.control_id
    assert registrar.position == Position(8, second.control_id)


def test_a_field_out_of_bounds_is_refused_before_it_is_signed_into_the_sequence(office: Office) -> None:
    registrar = Registrar(office.world.registrar, office.world.genesis)
    with pytest.raises(ConfigError, match="out of range"):
        registrar.revoke(office.world.site(1).name, bytes(32), "two words")
    assert registrar.position == START


async def test_a_backfill_grant_lets_old_values_in(office: Office) -> None:
    site, genesis = office.world.site(1), office.world.genesis
    answer = await office.approve(site)
    site.platform_key = office.keys[answer.offers[0].key.fingerprint]
    state = await office.settle()
    registrar = Registrar(
        office.world.registrar, genesis, state.tables.issuers[genesis.registrars[0].fingerprint]
    )
    old = packet_value(site.packet(time_ms=1000))
    blocks = len(office.ledger.chain.blocks)
    office.ledger.chain.block(old)
    assert len(office.ledger.chain.blocks) == blocks
    office.ledger.chain.block(
        frame(CONTROL_SCHEMA, registrar.backfill(site.name, 0, NOW_MS, MAX_TIME_MS).raw), old
    )
    assert office.ledger.chain.blocks[-1].block.header.entry_count == 2
