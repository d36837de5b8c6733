"""Bodies of control records about one site: who it is, what it may do, what the platform offers it (Y.4907 8.3).

Owns their fields, bounds and encoding; whether one is admitted is ``admission``'s affair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.keys import Algorithm
from pipeline.core.names import MAX_LONG, SITE_ID_BYTES, SiteName, is_site_name, is_text, is_time
from pipeline.core.record import is_indicator
from pipeline.core.sealing import Suite

_MAX_ITEMS: Final = 256
_ALGORITHMS: Final = frozenset(Algorithm) - {Algorithm.MLDSA44}  # which is for cosignatures alone


@dataclass(frozen=True, slots=True)
class Enrol:
    """Admit a site: its signing key with proof of possession, suites, indicators, equipment."""

    site: SiteName
    algorithm: Algorithm
    signing_key: bytes
    possession: bytes
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Amend:
    """Replace what a site was enrolled with: its key, suites, indicators, equipment; its sequence goes on.

    ``site_key`` is the fingerprint of the key in force so far. Where the key changes, packets that the former one
    signed are admitted until broker time ``previous_until_ms``; 0 for no longer. Where it stays, it is repeated.
    """

    site: SiteName
    site_key: bytes
    previous_until_ms: int
    algorithm: Algorithm
    signing_key: bytes
    possession: bytes
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Revoke:
    """Refuse a site from here on; history stays checkable."""

    site: SiteName
    site_key: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """Refuse a site until it is resumed; its key and place in its chain of packets stay."""

    site: SiteName
    site_key: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Admit a suspended site again."""

    site: SiteName
    site_key: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class BackfillGrant:
    """Let a site send measurements older than the contract allows, until ``expires_ms``."""

    site: SiteName
    collected_from: int
    collected_to: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class KeyOffer:
    """The platform's sealing key for a site and epoch."""

    site: SiteName
    epoch: int
    algorithm: Algorithm
    public_key: bytes
    valid_to: int


SiteBody = Enrol | Revoke | BackfillGrant | KeyOffer | Suspend | Resume | Amend


def site_fields(body: SiteBody) -> dict[str, Any]:
    """Return the Avro value of a body."""
    fields: dict[str, Any] = {
        "country": body.site.country,
        "city": body.site.city,
        "site_id": body.site.site_id,
    }
    match body:
        case Enrol():
            return fields | _terms(body)
        case Amend():
            changed = {"site_key": body.site_key, "previous_until": body.previous_until_ms}
            return fields | changed | _terms(body)
        case Revoke() | Suspend() | Resume():
            return fields | {"site_key": body.site_key, "reason": body.reason}
        case BackfillGrant():
            return fields | {
                "collected_from": body.collected_from,
                "collected_to": body.collected_to,
                "expires": body.expires_ms,
            }
        case KeyOffer():
            return fields | {
                "epoch": body.epoch,
                "algorithm": int(body.algorithm),
                "public_key": body.public_key,
                "valid_to": body.valid_to,
            }


def _terms(body: Enrol | Amend) -> dict[str, Any]:
    return {
        "algorithm": int(body.algorithm),
        "signing_key": body.signing_key,
        "possession": body.possession,
        "suites": [int(suite) for suite in body.suites],
        "indicators": list(body.indicators),
        "equipment": list(body.equipment),
    }


Read = Callable[[Mapping[str, Any]], SiteBody | None]
"""Makes a body of a decoded Avro value; None where a field is out of its bounds."""


def _of_site(build: Callable[[SiteName, Mapping[str, Any]], SiteBody | None]) -> Read:
    def read(raw: Mapping[str, Any]) -> SiteBody | None:
        site = SiteName(raw["country"], raw["city"], raw["site_id"])
        return build(site, raw) if is_site_name(site) else None

    return read


def _enrol(site: SiteName, raw: Mapping[str, Any]) -> Enrol | None:
    suites, indicators, equipment = raw["suites"], raw["indicators"], raw["equipment"]
    if raw["algorithm"] not in _ALGORITHMS or max(len(indicators), len(equipment)) > _MAX_ITEMS:
        return None
    if not suites or len(set(suites)) != len(suites) or not all(1 <= suite <= len(Suite) for suite in suites):
        return None
    if not indicators or not all(map(is_indicator, indicators)):
        return None
    if not all(len(item) == SITE_ID_BYTES for item in equipment):
        return None
    return Enrol(
        site,
        Algorithm(raw["algorithm"]),
        raw["signing_key"],
        raw["possession"],
        tuple(map(Suite, suites)),
        tuple(indicators),
        tuple(equipment),
    )


def _amend(site: SiteName, raw: Mapping[str, Any]) -> Amend | None:
    terms = _enrol(site, raw)
    if terms is None or not is_time(raw["previous_until"]):
        return None
    return Amend(
        site,
        raw["site_key"],
        raw["previous_until"],
        terms.algorithm,
        terms.signing_key,
        terms.possession,
        terms.suites,
        terms.indicators,
        terms.equipment,
    )


def _of_key(kind: type[Revoke | Suspend | Resume]) -> Read:
    return _of_site(
        lambda site, raw: kind(site, raw["site_key"], raw["reason"]) if is_text(raw["reason"]) else None
    )


def _backfill(site: SiteName, raw: Mapping[str, Any]) -> BackfillGrant | None:
    first, last, expires = raw["collected_from"], raw["collected_to"], raw["expires"]
    if not (is_time(first) and is_time(last) and is_time(expires)) or first > last:
        return None
    return BackfillGrant(site, first, last, expires)


def _key_offer(site: SiteName, raw: Mapping[str, Any]) -> KeyOffer | None:
    in_range = 1 <= raw["epoch"] <= MAX_LONG and raw["algorithm"] in _ALGORITHMS
    if not in_range or not is_time(raw["valid_to"]):
        return None
    return KeyOffer(site, raw["epoch"], Algorithm(raw["algorithm"]), raw["public_key"], raw["valid_to"])


SITE_READERS: Final[Mapping[type[SiteBody], Read]] = {
    Enrol: _of_site(_enrol),
    Revoke: _of_key(Revoke),
    BackfillGrant: _of_site(_backfill),
    KeyOffer: _of_site(_key_offer),
    Suspend: _of_key(Suspend),
    Resume: _of_key(Resume),
    Amend: _of_site(_amend),
}
"""How each body about a site is read."""
