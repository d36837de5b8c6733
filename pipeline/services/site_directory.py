"""What validators believe of sites, registrars and contract, from records that anybody may have put in front of them.

Nothing counts without the control record of a registrar, or of enough root keys. The directory only filters: every
node judges by its own registry, so one that lags costs a delay, never an entry. Does no I/O.
"""

from dataclasses import dataclass
from typing import Any, Final

from pipeline.core import avro
from pipeline.core.admission import (
    changed_site,
    enrolment_problem,
    is_issued,
    is_issued_by_roots,
    site_problem,
)
from pipeline.core.contract import Contract
from pipeline.core.control import (
    MAX_CONTROL_BYTES,
    Amend,
    Control,
    Enrol,
    NewContract,
    Registrars,
    Resume,
    Revoke,
    Suspend,
    parse_control,
)
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey
from pipeline.core.names import SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet
from pipeline.core.state import Site
from schemas import schema

SITE_REGISTRATION: Final = schema("SiteRegistration")
AUTHORITY_REGISTRATION: Final = schema("AuthorityRegistration")
RegisteredBody = Enrol | Amend | Revoke | Suspend | Resume
_MAX_VALUE_BYTES: Final = MAX_CONTROL_BYTES + 1024

Place = tuple[int, int]
"""Height and entry of a control record, as some node says."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is believed of a site, after the record of this issuer; ``site`` is None while only its key is known."""

    issuer: bytes
    sequence: int
    place: Place
    key: bytes
    site: Site | None


class SiteDirectory:
    """The registrations themselves: what is believed, and how a packet stands to it."""

    def __init__(self, genesis: Genesis) -> None:
        self._chain = genesis.chain
        self._genesis = genesis
        self._contract = genesis.contract
        first = {key.fingerprint: key for key in genesis.registrars}
        self._registrars: dict[Place, dict[bytes, PublicKey]] = {(0, 0): first}
        self._known: dict[SiteName, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def contract(self) -> Contract:
        """The contract in force, as far as the topic tells."""
        return self._contract

    def look_up(self, packet: Packet, time_ms: int) -> PublicKey | Outcome:
        """Return the key that must have signed a packet, or why registry and contract refuse it."""
        known = self._known.get(packet.site)
        site = known.site if known is not None else None
        problem = site_problem(self._chain, self._contract, site, packet, time_ms)
        if problem is Outcome.UNKNOWN_SITE and known is not None:
            return Outcome.INACTIVE_SITE if packet.site_key == known.key else Outcome.WRONG_KEY
        if problem is not None or site is None:
            return problem or Outcome.UNKNOWN_SITE
        return site.key_of(packet.site_key, time_ms) or Outcome.WRONG_KEY

    def apply(self, value: bytes | None) -> Outcome:
        """Take in one record of the sites topic if it is genuine and newer than what is known. Total."""
        parsed = self._parse(value)
        if isinstance(parsed, Outcome):
            return parsed
        control, place = parsed
        match control.body:
            case Registrars():
                keys = {key.fingerprint: key for key in control.body.keys}
                known = self._registrars.setdefault(place, keys)
                return Outcome.ADMITTED if known == keys else Outcome.CONFLICTING
            case NewContract():
                if control.body.contract.version <= self._contract.version:
                    return Outcome.STALE
                self._contract = control.body.contract
                return Outcome.ADMITTED
            case Enrol() | Amend() | Revoke() | Suspend() | Resume():
                return self._register(control, control.body, place)
            case _:
                return Outcome.CONFLICTING

    def _register(self, control: Control, body: RegisteredBody, place: Place) -> Outcome:
        known = self._known.get(body.site)
        if known is not None and not _is_newer(known, control, place):
            return Outcome.DUPLICATE if place == known.place else Outcome.STALE
        before = known.site if known is not None else None
        if isinstance(body, Enrol | Amend):
            problem = enrolment_problem(self._chain, body)
            if problem is not None:
                return problem
        elif before is None:
            # The enrolment was compacted away, or is still to come; the newest word counts.
            self._known[body.site] = _Known(control.issuer, control.sequence, place, body.site_key, None)
            return Outcome.ADMITTED
        site = changed_site(before, body)
        self._known[body.site] = _Known(control.issuer, control.sequence, place, site.key.fingerprint, site)
        return Outcome.ADMITTED

    def _parse(self, value: bytes | None) -> tuple[Control, Place] | Outcome:
        if not value:
            return Outcome.EMPTY
        if len(value) > _MAX_VALUE_BYTES:
            return Outcome.OVERSIZED
        kind = avro.frame_id(value)
        if kind not in (SITE_REGISTRATION.id, AUTHORITY_REGISTRATION.id):
            return Outcome.FOREIGN_SCHEMA
        is_site = kind == SITE_REGISTRATION.id
        fields = avro.unframe(SITE_REGISTRATION if is_site else AUTHORITY_REGISTRATION, value)
        if fields is None:
            return Outcome.MALFORMED
        control = parse_control(fields["control"])
        if isinstance(control, Outcome):
            return control
        if not self._chain == control.chain == fields["chain"]:
            return Outcome.WRONG_CHAIN
        place = (fields["height"], fields["entry"])
        problem = self._issuing_problem(control, place)
        if problem is not None:
            return problem
        agrees = (
            _says_the_same(fields, control) if is_site else isinstance(control.body, Registrars | NewContract)
        )
        return (control, place) if agrees else Outcome.CONFLICTING

    def _issuing_problem(self, control: Control, place: Place) -> Outcome | None:
        if isinstance(control.body, Registrars | NewContract):
            return None if is_issued_by_roots(self._genesis, control) else Outcome.BAD_SIGNATURE
        # Those in force where the record is said to stand: what a replaced registrar enrolled before stays good.
        since = max((at for at in self._registrars if at <= place), default=None)
        issuer = self._registrars[since].get(control.issuer) if since is not None else None
        if issuer is None:
            return Outcome.UNKNOWN_ISSUER
        return None if is_issued(issuer, control) else Outcome.BAD_SIGNATURE


def _says_the_same(fields: dict[str, Any], control: Control) -> bool:
    """Tell whether the unsigned fields of a registration are what its control record says."""
    body = control.body
    if not isinstance(body, RegisteredBody):
        return False
    site = SiteName(fields["country"], fields["city"], fields["site_id"])
    return site == body.site and fields["active"] == is_admitting(body)


def is_admitting(body: RegisteredBody) -> bool:
    """Tell whether packets of a site may be admitted after a record with this body."""
    return isinstance(body, Enrol | Amend | Resume)


def _is_newer(known: _Known, control: Control, place: Place) -> bool:
    # One registrar's numbers are signed; the place in the chain is only what some node says.
    if known.issuer == control.issuer:
        return control.sequence > known.sequence
    return place > known.place
