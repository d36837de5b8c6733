"""Admission: what becomes of a packet or control record, given the state. Total and pure.

``parse_value`` needs no state and may run anywhere; ``judge`` decides without changing the
state; ``enact`` changes it for a record that was judged admitted.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from pipeline.core import avro
from pipeline.core.contract import Contract
from pipeline.core.control import (
    MAX_CONTROL_BYTES,
    AccessLogHead,
    AccessLogKey,
    Amend,
    AuthorityBody,
    BackfillGrant,
    Control,
    Enrol,
    KeyOffer,
    NewContract,
    Nodes,
    Reanchor,
    Registrars,
    Resume,
    Revoke,
    RootBody,
    Rules,
    SiteBody,
    Suspend,
    parse_control,
    possession_message,
)
from pipeline.core.genesis import Genesis, largest_block
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.outcome import Outcome
from pipeline.core.packet import MAX_PACKET_BYTES, Packet, parse_packet
from pipeline.core.sealing import SEALING_ALGORITHM, SIGNING_ALGORITHM
from pipeline.core.signing import verify
from pipeline.core.state import START, ChainState, Offer, Office, Position, Site
from schemas import schema

PACKET_SCHEMA = schema("Packet")
CONTROL_SCHEMA = schema("Control")
TICK_SCHEMA = schema("Tick")
TICK_VALUE = avro.frame(TICK_SCHEMA, b"")
_PACKET_FRAME = avro.frame(PACKET_SCHEMA, b"")
_MAX_VALUE_BYTES = max(MAX_PACKET_BYTES, MAX_CONTROL_BYTES) + avro.FRAME_BYTES

Parsed = Packet | Control | Outcome
SignatureCheck = Callable[[PublicKey, Packet], bool]


def is_signed(key: PublicKey, packet: Packet) -> bool:
    """Tell whether a packet carries a good signature of ``key``."""
    return verify(key, packet.signature, packet.signed)


def parse_value(value: bytes | None) -> Parsed:
    """Return what a chain log value holds: a packet, a control record, a tick or a refusal. Total."""
    if not value:
        return Outcome.EMPTY
    if len(value) > _MAX_VALUE_BYTES:
        return Outcome.OVERSIZED
    if value.startswith(_PACKET_FRAME):
        return parse_packet(value[avro.FRAME_BYTES :])
    match avro.frame_id(value):
        case CONTROL_SCHEMA.id:
            return parse_control(value[avro.FRAME_BYTES :])
        case TICK_SCHEMA.id:
            return Outcome.TICK if value == TICK_VALUE else Outcome.MALFORMED
        case _:
            return Outcome.FOREIGN_SCHEMA


def judge(
    state: ChainState,
    parsed: Parsed,
    time_ms: int,
    check: SignatureCheck = is_signed,
    *,
    opens_block: bool = False,
) -> Outcome:
    """Decide a record at broker time ``time_ms``; the state stays as it is.

    ``opens_block`` says that it is the first record consumed after the block at the head.
    """
    if isinstance(parsed, Packet):
        return _judge_packet(state, parsed, time_ms, check)
    if isinstance(parsed, Control):
        return _judge_control(state, parsed, opens_block=opens_block)
    return parsed


def enact(state: ChainState, admitted: Packet | Control) -> None:
    """Change the state by a record that ``judge`` admitted."""
    if isinstance(admitted, Packet):
        state.put("positions", admitted.site, Position(admitted.sequence, admitted.packet_id))
        return
    state.put("issuers", admitted.issuer, Position(admitted.sequence, admitted.control_id))
    _enact_body(state, admitted)


def registration_problem(state: ChainState, packet: Packet, time_ms: int) -> Outcome | None:
    """Return why registry and contract refuse a packet before its signature is looked at."""
    site = state.tables.sites.get(packet.site)
    problem = site_problem(state.chain, state.contract, site, packet, time_ms)
    if problem is not None:
        return problem
    # A suite promises its key agreement: a packet that says xwing is not sealed to a classical key alone.
    wanted = SEALING_ALGORITHM[packet.suite]
    for offer in state.tables.offers.get(packet.site, ()):
        if offer.key.algorithm is wanted and packet.is_sealed_to(offer.key.fingerprint):
            return None
    return Outcome.UNKNOWN_RECIPIENT


def site_problem(
    chain: bytes, contract: Contract, site: Site | None, packet: Packet, time_ms: int
) -> Outcome | None:
    """Return why contract and the site's registry entry, if any, refuse a packet; knows no key offers."""
    if len(packet.raw) > contract.max_packet:
        return Outcome.OVERSIZED
    if packet.chain != chain:
        return Outcome.WRONG_CHAIN
    if site is None:
        return Outcome.UNKNOWN_SITE
    key = site.key_of(packet.site_key, time_ms)
    if key is None:
        return Outcome.WRONG_KEY
    if not site.active:
        return Outcome.INACTIVE_SITE
    if site.suspended:
        return Outcome.SUSPENDED_SITE
    suite = packet.suite
    if suite not in site.suites or not contract.accepts(suite, time_ms):
        return Outcome.SUITE_REFUSED
    return None if SIGNING_ALGORITHM[suite] is key.algorithm else Outcome.SUITE_REFUSED


def _judge_packet(state: ChainState, packet: Packet, time_ms: int, check: SignatureCheck) -> Outcome:
    problem = registration_problem(state, packet, time_ms)
    if problem is not None:
        return problem
    key = state.tables.sites[packet.site].key_of(packet.site_key, time_ms)
    if key is None or not check(key, packet):
        return Outcome.BAD_SIGNATURE
    last = state.tables.positions.get(packet.site, START)
    jump = state.contract.max_sequence_jump
    outcome = continuation(last, packet.sequence, packet.previous, packet.packet_id, jump)
    if outcome is not Outcome.ADMITTED:
        return outcome
    return time_outcome(state.contract, state.tables.grants.get(packet.site, ()), packet, time_ms)


def continuation(last: Position, sequence: int, previous: bytes, own_id: bytes, max_jump: int) -> Outcome:
    """Apply the continuation rule, the same for sites and authorities."""
    if own_id == last.last_id:
        return Outcome.DUPLICATE
    if sequence == last.sequence:
        return Outcome.EQUIVOCATION
    if sequence < last.sequence:
        return Outcome.STALE
    if previous != last.last_id:
        return Outcome.BROKEN_LINK
    return Outcome.ADMITTED if sequence - last.sequence <= max_jump else Outcome.SEQUENCE_JUMP


def time_outcome(
    contract: Contract, grants: Iterable[BackfillGrant], packet: Packet, time_ms: int
) -> Outcome:
    """Apply the rule on times to a packet at broker time ``time_ms``; ``grants`` are those of its site."""
    if packet.collected_to > time_ms + contract.skew_ms:
        return Outcome.TOO_NEW
    if packet.collected_from >= time_ms - contract.max_age_ms:
        return Outcome.ADMITTED
    granted = any(
        grant.collected_from <= packet.collected_from
        and packet.collected_to <= grant.collected_to
        and time_ms <= grant.expires_ms
        for grant in grants
    )
    return Outcome.ADMITTED if granted else Outcome.TOO_OLD


def _judge_control(state: ChainState, control: Control, *, opens_block: bool) -> Outcome:
    if control.chain != state.chain:
        return Outcome.WRONG_CHAIN
    problem = _issuing_problem(state, control)
    if problem is not None:
        return problem
    last = state.tables.issuers.get(control.issuer, START)
    jump = state.contract.max_sequence_jump
    outcome = continuation(last, control.sequence, control.previous, control.control_id, jump)
    if outcome is not Outcome.ADMITTED:
        return outcome
    body = control.body
    if isinstance(body, Reanchor):
        # Only here may the log jump: nothing consumed since the block that it names lies between.
        fits = opens_block and names_head(state, body)
        return Outcome.ADMITTED if fits else Outcome.CONFLICTING
    return _judge_body(state, body) if isinstance(body, SiteBody) else judge_authority(state, body)


def _issuing_problem(state: ChainState, control: Control) -> Outcome | None:
    """Return why a record is not its issuer's: enough root keys, the key of the access log, or a registrar."""
    if isinstance(control.body, RootBody):
        if control.issuer not in state.roots:
            return Outcome.UNKNOWN_ISSUER
        return None if is_issued_by_roots(state.genesis, control) else Outcome.BAD_SIGNATURE
    issuer = state.registrars.get(control.issuer)
    if isinstance(control.body, AccessLogHead):
        key = state.access_log_key
        issuer = key if key is not None and key.fingerprint == control.issuer else None
    if issuer is None:
        return Outcome.UNKNOWN_ISSUER
    return None if is_issued(issuer, control) else Outcome.BAD_SIGNATURE


def names_head(state: ChainState, body: Reanchor) -> bool:
    """Tell whether a reanchor goes on right after the head, in the next incarnation of the log."""
    head = state.head
    return (body.incarnation, body.height, body.block_hash) == (
        head.incarnation + 1,
        head.height,
        head.block_hash,
    )


def is_issued_by_roots(genesis: Genesis, control: Control) -> bool:
    """Tell whether enough distinct root keys signed a control record, the issuer first, and nobody else did."""
    keys, roots = [key for key, _ in control.signatures], {key.fingerprint: key for key in genesis.root_keys}
    if len(set(keys)) != len(keys) or len(keys) < genesis.root_threshold or keys[0] != control.issuer:
        return False
    return all(
        key in roots and verify(roots[key], signature, control.signed)
        for key, signature in control.signatures
    )


def is_issued(issuer: PublicKey, control: Control) -> bool:
    """Tell whether a control record carries exactly one signature, a good one of its issuer."""
    if len(control.signatures) != 1:
        return False
    key, signature = control.signatures[0]
    return key == issuer.fingerprint == control.issuer and verify(issuer, signature, control.signed)


def _judge_body(state: ChainState, body: SiteBody) -> Outcome:
    site = state.tables.sites.get(body.site)
    if isinstance(body, Enrol):
        if site is not None and site.active:
            return Outcome.CONFLICTING
        return enrolment_problem(state.chain, body) or Outcome.ADMITTED
    if site is None:
        return Outcome.UNKNOWN_SITE
    if isinstance(body, Revoke | Suspend | Resume | Amend):
        return change_problem(state.chain, site, body) or Outcome.ADMITTED
    if isinstance(body, KeyOffer):
        if body.algorithm not in SEALING_ALGORITHM.values() or offered_key(body) is None:
            return Outcome.WEAK_KEY
        offers = state.tables.offers.get(body.site, ())
        return Outcome.ADMITTED if not offers or body.epoch > offers[-1].epoch else Outcome.CONFLICTING
    return Outcome.ADMITTED


def change_problem(chain: bytes, site: Site, body: Revoke | Suspend | Resume | Amend) -> Outcome | None:
    """Return why the registry entry of a site cannot be changed so: it must be active, under the key that is named."""
    fits = site.active and body.site_key == site.key.fingerprint
    if isinstance(body, Suspend | Resume):
        fits &= site.suspended is isinstance(body, Resume)
    if not fits:
        return Outcome.CONFLICTING
    return enrolment_problem(chain, body) if isinstance(body, Amend) else None


def judge_authority(state: ChainState, body: AuthorityBody) -> Outcome:
    """Decide a change of authorities, contract or rules by what is in force."""
    terms = state.terms
    match body:
        case Nodes():
            fits = terms.contract.max_block <= largest_block(body.policy)
        case NewContract():
            fits = body.contract.version > terms.contract.version
            fits &= body.contract.max_block <= largest_block(terms.policy)
        case Rules():
            fits = body.version > terms.rules_version
        case _:
            fits = True
    return Outcome.ADMITTED if fits else Outcome.CONFLICTING


def enrolment_problem(chain: bytes, body: Enrol | Amend) -> Outcome | None:
    """Return why an enrolment's key is refused: weak, or not proved to be the site's."""
    key = enrolled_key(body)
    if key is None or body.algorithm not in SIGNING_ALGORITHM.values():
        return Outcome.WEAK_KEY
    possession = possession_message(chain, body.site, key.fingerprint)
    return None if verify(key, body.possession, possession) else Outcome.BAD_POSSESSION


def enrolled_key(body: Enrol | Amend) -> PublicKey | None:
    """Return the site's key that an enrolment names, or None for a weak one."""
    return _good_key(Use.SITE, body.algorithm, body.signing_key)


def offered_key(body: KeyOffer) -> PublicKey | None:
    """Return the platform's key that an offer names, or None for a weak one."""
    return _good_key(Use.PLATFORM, body.algorithm, body.public_key)


def _good_key(use: Use, algorithm: Algorithm, raw: bytes) -> PublicKey | None:
    try:
        return PublicKey(use, algorithm, raw)
    except ValueError:
        return None


def changed_site(known: Site | None, body: Enrol | Amend | Revoke | Suspend | Resume) -> Site:
    """Return a site's registry entry after a record that was judged admitted; ``known`` is the one before."""
    if isinstance(body, Enrol | Amend):
        key = enrolled_key(body)
        assert key is not None  # noqa: S101  judged before
        site = Site(body.site, key, body.suites, body.indicators, body.equipment)
        if known is None or isinstance(body, Enrol):
            return site
        former = (known.previous, known.previous_until_ms)
        if key != known.key:
            former = (known.key, body.previous_until_ms) if body.previous_until_ms else (None, 0)
        return replace(site, suspended=known.suspended, previous=former[0], previous_until_ms=former[1])
    assert known is not None  # noqa: S101  judged before
    if isinstance(body, Revoke):
        return replace(known, active=False)
    return replace(known, suspended=isinstance(body, Suspend))


def _enact_body(state: ChainState, control: Control) -> None:
    body, tables = control.body, state.tables
    match body:
        case Enrol() | Amend() | Revoke() | Suspend() | Resume():
            state.put("sites", body.site, changed_site(tables.sites.get(body.site), body))
        case BackfillGrant():
            state.put("grants", body.site, (*tables.grants.get(body.site, ()), body))
        case KeyOffer():
            key = offered_key(body)
            assert key is not None  # noqa: S101  judged before
            offer = Offer(body.epoch, key, body.valid_to)
            state.put("offers", body.site, (*tables.offers.get(body.site, ()), offer))
        case Registrars():
            state.appoint(Office.REGISTRARS, body.keys)
        case AccessLogKey():
            state.appoint(Office.ACCESS_LOG, (body.key,))
        case Nodes():
            state.decide(replace(state.terms, policy=body.policy))
        case NewContract():
            state.decide(replace(state.terms, contract=body.contract))
        case Rules():
            state.decide(replace(state.terms, rules_version=body.version))
        case Reanchor() | AccessLogHead():
            pass
