"""Every outcome of admission, each reached by the smallest case, and none of the refusals leaves a trace."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest

from pipeline.core import avro
from pipeline.core.admission import TICK_VALUE, enact, judge, parse_value
from pipeline.core.contract import Contract
from pipeline.core.control import MAX_CONTROL_BYTES, BackfillGrant, Suspend, control_id
from pipeline.core.derive import Derived, Deriver, Fed, LogRecord
from pipeline.core.keys import Algorithm, Use
from pipeline.core.names import MAX_LONG, MAX_TIME_MS
from pipeline.core.outcome import Outcome
from pipeline.core.packet import MAX_PACKET_BYTES
from pipeline.core.sealing import SealingKey, Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import Position
from schemas import schema
from tests.support.admission_case import CONTRACT, Case
from tests.support.forge import resigned
from tests.support.world import NOW_MS, PERIOD_MS, TestSite, World, control_value, packet_value, secret

DAY_MS = 86_400_000


def other_site(case: Case, **changes: object) -> TestSite:
    """Return site 1 with something changed, at the same place of its chain."""
    return replace(case.site, **changes)  # type: ignore[arg-type]


def revoked(case: Case) -> Outcome:
    """Revoke site 1 and send its next packet."""
    assert case.feed(case.issue(case.revoke())) is Outcome.ADMITTED
    return case.feed(case.send(case.site))


def suspended(case: Case) -> Outcome:
    """Suspend site 1 and send its next packet."""
    key = case.site.signer.public.fingerprint
    assert case.feed(case.issue(Suspend(case.site.name, key, "audit"))) is Outcome.ADMITTED
    return case.feed(case.send(case.site))


def p256_after_its_term(case: Case) -> Outcome:
    """Enrol a site of a suite that expires, and send just after."""
    site = case.world.site(3, Suite.P256)
    for raw in case.world.enrolment(site):
        assert case.feed(control_value(raw)) is Outcome.ADMITTED
    assert case.feed(case.send(site), NOW_MS) is Outcome.ADMITTED
    return case.feed(case.send(site), NOW_MS + 1)


GRANTED_MS = NOW_MS - 90 * DAY_MS


def backfilled(case: Case, first: int = 0, last: int = DAY_MS, now: int = NOW_MS) -> Outcome:
    """Grant a day until now, and send what was collected from ``first`` to ``last`` after its start."""
    grant = BackfillGrant(case.site.name, GRANTED_MS, GRANTED_MS + DAY_MS, NOW_MS)
    assert case.feed(case.issue(grant)) is Outcome.ADMITTED
    times = {"collected_from": GRANTED_MS + first, "collected_to": GRANTED_MS + last}
    return case.feed(packet_value(resigned(case.site, case.site.packet(), **times).raw), now)


def forged(case: Case, value: bytes) -> Outcome:
    """Send a value with one bit of its signature flipped."""
    return case.feed(value[:-3] + bytes([value[-3] ^ 1]) + value[-2:])


WRONG_SIGNER = Ed25519Signer(secret("nobody"), Use.SITE)
Reach = Callable[[Case], Outcome]
CASES: list[tuple[str, Outcome, Reach]] = [
    ("next packet", Outcome.ADMITTED, lambda c: c.feed(c.send(c.site))),
    ("largest jump", Outcome.ADMITTED, lambda c: c.feed(c.send(c.site, sequence=15))),
    ("next control record", Outcome.ADMITTED, lambda c: c.feed(c.issue(c.offer()))),
    ("just not too new", Outcome.ADMITTED, lambda c: c.feed(c.send(c.site, NOW_MS + CONTRACT.skew_ms))),
    ("just not too old", Outcome.ADMITTED, lambda c: c.feed(c.send(c.site, NOW_MS - CONTRACT.max_age_ms))),
    ("backfill", Outcome.ADMITTED, backfilled),
    ("before the granted span", Outcome.TOO_OLD, lambda c: backfilled(c, first=-1)),
    ("past the granted span", Outcome.TOO_OLD, lambda c: backfilled(c, last=DAY_MS + 1)),
    ("after the grant's end", Outcome.TOO_OLD, lambda c: backfilled(c, now=NOW_MS + 1)),
    ("tick", Outcome.TICK, lambda c: c.feed(TICK_VALUE)),
    ("packet again", Outcome.DUPLICATE, lambda c: c.feed(packet_value(c.packet))),
    ("control record again", Outcome.DUPLICATE, lambda c: c.feed(control_value(c.enrolments[1]))),
    ("value over the limit", Outcome.OVERSIZED, lambda c: c.feed(bytes(MAX_PACKET_BYTES + 6))),
    ("packet over the limit", Outcome.OVERSIZED, lambda c: c.feed(packet_value(bytes(MAX_PACKET_BYTES + 1)))),
    (
        "control over the limit",
        Outcome.OVERSIZED,
        lambda c: c.feed(control_value(bytes(MAX_CONTROL_BYTES + 1))),
    ),
    (
        "packet over the contract's limit",
        Outcome.OVERSIZED,
        lambda c: c.feed(packet_value(c.site.packet(records=[bytes(9000)]))),
    ),
    ("null", Outcome.EMPTY, lambda c: c.feed(None)),
    ("no bytes", Outcome.EMPTY, lambda c: c.feed(b"")),
    ("no frame", Outcome.FOREIGN_SCHEMA, lambda c: c.feed(b"\0\0")),
    ("other schema", Outcome.FOREIGN_SCHEMA, lambda c: c.feed(avro.frame(schema("Block"), b""))),
    ("cut off", Outcome.MALFORMED, lambda c: c.feed(c.send(c.site)[:-1])),
    ("tick with a body", Outcome.MALFORMED, lambda c: c.feed(TICK_VALUE + b"\0")),
    ("control body cut off", Outcome.MALFORMED, lambda c: c.feed(c.control_with(body=b"\x04US"))),
    ("control version", Outcome.OUT_OF_RANGE, lambda c: c.feed(c.control_with(version=2))),
    ("control sequence 0", Outcome.OUT_OF_RANGE, lambda c: c.feed(c.control_with(sequence=0))),
    ("no control signature", Outcome.OUT_OF_RANGE, lambda c: c.feed(c.control_with(signatures=[]))),
    (
        "packet of another chain",
        Outcome.WRONG_CHAIN,
        lambda c: c.feed(c.send(other_site(c, chain=secret("other")))),
    ),
    (
        "control of another chain",
        Outcome.WRONG_CHAIN,
        lambda c: c.feed(c.issue(c.offer(), chain=secret("other"))),
    ),
    ("packet of nobody", Outcome.UNKNOWN_SITE, lambda c: c.feed(c.send(c.world.site(9)))),
    (
        "offer to nobody",
        Outcome.UNKNOWN_SITE,
        lambda c: c.feed(c.issue(c.offer(site=c.world.site(9).name))),
    ),
    ("after revocation", Outcome.INACTIVE_SITE, revoked),
    ("while suspended", Outcome.SUSPENDED_SITE, suspended),
    ("other key", Outcome.WRONG_KEY, lambda c: c.feed(c.send(other_site(c, signer=WRONG_SIGNER)))),
    ("suite not granted", Outcome.SUITE_REFUSED, lambda c: c.feed(c.send(other_site(c, suite=Suite.XWING)))),
    ("suite expired", Outcome.SUITE_REFUSED, p256_after_its_term),
    (
        "sealed to another",
        Outcome.UNKNOWN_RECIPIENT,
        lambda c: c.feed(c.send(other_site(c, platform_key=SealingKey(Algorithm.X25519, secret("someone"))))),
    ),
    ("packet forged", Outcome.BAD_SIGNATURE, lambda c: forged(c, c.send(c.site))),
    ("control forged", Outcome.BAD_SIGNATURE, lambda c: forged(c, c.issue(c.offer()))),
    ("lower sequence", Outcome.STALE, lambda c: c.feed(c.send(c.site, sequence=4))),
    ("same sequence", Outcome.EQUIVOCATION, lambda c: c.feed(packet_value(c.site.packet([2], sequence=5)))),
    (
        "other predecessor",
        Outcome.BROKEN_LINK,
        lambda c: c.feed(c.send(other_site(c, previous=secret("elsewhere")))),
    ),
    ("jump too far", Outcome.SEQUENCE_JUMP, lambda c: c.feed(c.send(c.site, sequence=16))),
    ("jump to the end", Outcome.SEQUENCE_JUMP, lambda c: c.feed(c.send(c.site, sequence=MAX_LONG))),
    ("control jump", Outcome.SEQUENCE_JUMP, lambda c: c.feed(c.issue(c.offer(), step=11))),
    ("from the future", Outcome.TOO_NEW, lambda c: c.feed(c.send(c.site, NOW_MS + CONTRACT.skew_ms + 1))),
    ("from year 9999", Outcome.TOO_NEW, lambda c: c.feed(c.send(c.site, MAX_TIME_MS))),
    ("from long ago", Outcome.TOO_OLD, lambda c: c.feed(c.send(c.site, NOW_MS - CONTRACT.max_age_ms - 1))),
    ("from 1970", Outcome.TOO_OLD, lambda c: c.feed(c.send(c.site, 0))),
    ("issuer unknown", Outcome.UNKNOWN_ISSUER, lambda c: c.feed(c.issue(c.offer(), WRONG_SIGNER))),
    (
        "a root key is no registrar",
        Outcome.UNKNOWN_ISSUER,
        lambda c: c.feed(c.issue(c.offer(), c.world.roots[0])),
    ),
    ("action 15", Outcome.UNKNOWN_ACTION, lambda c: c.feed(c.control_with(action=15))),
    ("action -1", Outcome.UNKNOWN_ACTION, lambda c: c.feed(c.control_with(action=-1))),
    (
        "small-order key",
        Outcome.WEAK_KEY,
        lambda c: c.feed(c.issue(c.enrolment(signing_key=b"\1" + bytes(31)))),
    ),
    (
        "sealing key as signing key",
        Outcome.WEAK_KEY,
        lambda c: c.feed(c.issue(c.enrolment(algorithm=Algorithm.X25519))),
    ),
    ("weak offer", Outcome.WEAK_KEY, lambda c: c.feed(c.issue(c.offer(public_key=bytes(32))))),
    (
        "signing key offered",
        Outcome.WEAK_KEY,
        lambda c: c.feed(c.issue(c.offer(algorithm=Algorithm.ED25519))),
    ),
    ("no possession", Outcome.BAD_POSSESSION, lambda c: c.feed(c.issue(c.enrolment(possession=bytes(64))))),
    (
        "possession for another site",
        Outcome.BAD_POSSESSION,
        lambda c: c.feed(c.issue(c.enrolment(site=c.world.site(8).name))),
    ),
    ("enrolled twice", Outcome.CONFLICTING, lambda c: c.feed(c.issue(c.enrolment(1)))),
    ("older epoch", Outcome.CONFLICTING, lambda c: c.feed(c.issue(c.offer(epoch=1)))),
    (
        "revocation of another key",
        Outcome.CONFLICTING,
        lambda c: c.feed(c.issue(replace(c.revoke(), site_key=bytes(32)))),
    ),
]


@pytest.mark.parametrize(("expected", "reach"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_case_has_its_outcome(expected: Outcome, reach: Reach) -> None:
    assert reach(Case()) is expected


def test_every_outcome_is_reached() -> None:
    assert {outcome for _, outcome, _ in CASES} == set(Outcome)


@pytest.mark.parametrize(
    "reach", [reach for _, o, reach in CASES if o.is_refusal], ids=[n for n, o, _ in CASES if o.is_refusal]
)
def test_a_refusal_changes_nothing_and_is_in_the_log_digest(reach: Reach) -> None:
    case = Case()
    reach(case)
    replayed = case.deriver
    (closed,) = replayed.close()
    assert isinstance(closed, Derived)
    refused = [item for item in closed.refused if item.outcome.is_refusal]
    assert len(refused) == 1
    without = Case()
    without.deriver = Deriver(without.world.state())
    source = closed.block.entries
    for offset, entry in enumerate(source):
        frame = packet_value if entry.kind == 1 else control_value
        without.deriver.feed(LogRecord(offset, entry.time_ms, frame(entry.payload)))
    (clean,) = without.deriver.close()
    assert without.deriver.state.tables == replayed.state.tables
    assert clean.block.header.log_digest != closed.block.header.log_digest


@pytest.mark.parametrize("reach", [reach for *_, reach in CASES], ids=[name for name, *_ in CASES])
def test_judging_leaves_the_state_alone(reach: Reach) -> None:
    case = Case()
    values: list[bytes | None] = []
    feed = case.deriver.feed

    def judged(record: LogRecord) -> Fed:
        before = deepcopy(case.deriver.state.tables)
        judge(case.deriver.state, parse_value(record.value), record.time_ms)
        assert case.deriver.state.tables == before
        values.append(record.value)
        return feed(record)

    case.deriver.feed = judged  # type: ignore[method-assign,assignment]
    reach(case)
    assert values


def test_numbers_and_names_of_outcomes_are_fixed() -> None:
    """The numbers are in log digests, the names in dead letters."""
    assert {outcome.name: outcome.value for outcome in Outcome} == {
        "ADMITTED": 0, "TICK": 1, "DUPLICATE": 2, "OVERSIZED": 16, "EMPTY": 17, "FOREIGN_SCHEMA": 18,
        "MALFORMED": 19, "OUT_OF_RANGE": 20, "WRONG_CHAIN": 21, "UNKNOWN_SITE": 22, "INACTIVE_SITE": 23,
        "WRONG_KEY": 24, "SUITE_REFUSED": 25, "UNKNOWN_RECIPIENT": 26, "BAD_SIGNATURE": 27, "STALE": 28,
        "EQUIVOCATION": 29, "BROKEN_LINK": 30, "SEQUENCE_JUMP": 31, "TOO_NEW": 32, "TOO_OLD": 33,
        "UNKNOWN_ISSUER": 34, "UNKNOWN_ACTION": 35, "WEAK_KEY": 36, "BAD_POSSESSION": 37, "CONFLICTING": 38,
        "SUSPENDED_SITE": 39,
    }  # fmt: skip


def test_old_control_records_can_not_be_replayed_to_let_a_revoked_site_in() -> None:
    case = Case()
    assert case.feed(case.issue(case.revoke())) is Outcome.ADMITTED
    assert [case.feed(control_value(raw)) for raw in case.enrolments] == [Outcome.STALE] * 2
    assert not case.deriver.state.tables.sites[case.site.name].active


def test_a_site_enrolled_again_goes_on_where_it_was() -> None:
    """With a new key its old packets are nothing any more, and its sequence does not start again."""
    case = Case()
    assert case.feed(control_value(case.world.control(case.revoke()))) is Outcome.ADMITTED
    case.site.signer = Ed25519Signer(secret("new key"), Use.SITE)
    assert case.feed(control_value(case.world.enrolment(case.site)[0])) is Outcome.ADMITTED
    assert case.feed(packet_value(case.packet)) is Outcome.WRONG_KEY
    assert case.feed(case.send(other_site(case, sequence=0, previous=bytes(32)))) is Outcome.STALE
    assert case.feed(case.send(case.site, sequence=6)) is Outcome.ADMITTED


def test_a_sequence_can_reach_its_end_and_then_nothing_follows() -> None:
    case = Case(World(contract=Contract(period_ms=PERIOD_MS, max_sequence_jump=2**62)))
    half = case.site.sequence + 2**62
    assert case.feed(case.send(case.site, sequence=half)) is Outcome.ADMITTED
    assert case.feed(case.send(case.site, sequence=MAX_LONG)) is Outcome.ADMITTED
    last = case.deriver.state.tables.positions[case.site.name]
    assert last == Position(MAX_LONG, case.site.previous)
    again = packet_value(case.site.packet([9], sequence=MAX_LONG))
    assert case.feed(again) is Outcome.EQUIVOCATION


@pytest.mark.parametrize("time_ms", [0, 1, MAX_TIME_MS, 2**62])
def test_broker_times_at_the_limits_are_judged(time_ms: int) -> None:
    """A broker's clock can be anything; the outcome is a refusal by age, never an error."""
    case = Case()
    expected = Outcome.TOO_NEW if time_ms < NOW_MS else Outcome.TOO_OLD
    assert case.feed(case.send(case.site), time_ms) is expected


def test_what_was_judged_admitted_can_be_enacted() -> None:
    case = Case()
    parsed = parse_value(case.send(case.site))
    assert not isinstance(parsed, Outcome)
    state = case.deriver.state
    assert judge(state, parsed, NOW_MS) is Outcome.ADMITTED
    enact(state, parsed)
    assert judge(state, parsed, NOW_MS) is Outcome.DUPLICATE


def test_a_packet_that_says_xwing_is_refused_where_it_is_sealed_to_a_classical_key() -> None:
    case = Case()
    site = case.world.site(2)
    both = (Suite.LIGHT, Suite.XWING)
    enrolled = case.issue(case.enrolment(suites=both))
    assert case.feed(enrolled) is Outcome.ADMITTED
    case.world.sequence += 1
    identifier = control_id(enrolled[5:])
    assert identifier is not None
    case.world.previous = identifier
    offered = site.platform_key.public
    offer = case.issue(case.offer(site=site.name, public_key=offered.raw))
    assert case.feed(offer) is Outcome.ADMITTED
    site.suite = Suite.XWING
    assert case.feed(case.send(site)) is Outcome.UNKNOWN_RECIPIENT
    again = case.world.site(2)
    assert case.feed(case.send(again)) is Outcome.ADMITTED
