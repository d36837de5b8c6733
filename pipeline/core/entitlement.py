"""What control records make of a site's entitlement, record by record in the order of the tree.

Owns the fold and which records it needs. That they are genuine, and of this site, was checked before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from pipeline.core.admission import enrolled_key, offered_key
from pipeline.core.agreement import Entitlement, Standing, with_offer
from pipeline.core.control import Amend, Control, Enrol, KeyOffer, Resume, Revoke, SiteBody, Suspend
from pipeline.core.state import Offer

_STANDINGS: Final = {
    Suspend: Standing.SUSPENDED,
    Resume: Standing.ACTIVE,
    Revoke: Standing.REVOKED,
}


@dataclass(frozen=True, slots=True)
class Placed:
    """A control record and the index of its leaf in the chain's tree."""

    leaf_index: int
    control: Control


def entitlement_after(start: Entitlement, records: Iterable[Placed]) -> Entitlement:
    """Return what a site may do after these records about it, applied in the order of their leaves."""
    found = start
    for placed in sorted(records, key=lambda item: item.leaf_index):
        body = placed.control.body
        if isinstance(body, SiteBody):
            found = _after(found, body)
    return found


def needed(records: Iterable[Placed]) -> tuple[Placed, ...]:
    """Return those of a site's records that its entitlement follows from, in the order of their leaves.

    Per kind of key the offer of the highest epoch; the last grant of rights; the last change of standing; all changes
    of authorities, by which the others are judged.
    """
    kept: dict[str | int, Placed] = {}
    for placed in sorted(records, key=lambda item: item.leaf_index):
        body = placed.control.body
        if isinstance(body, KeyOffer):
            before = kept.get(f"offer {body.algorithm}")
            held = None if before is None else before.control.body
            if not isinstance(held, KeyOffer) or body.epoch > held.epoch:
                kept[f"offer {body.algorithm}"] = placed
        elif isinstance(body, Enrol | Amend):
            kept["grant"] = placed
        elif not isinstance(body, SiteBody):
            kept[placed.leaf_index] = placed
        if isinstance(body, Enrol | Suspend | Resume | Revoke):
            kept["standing"] = placed
    found = {placed.leaf_index: placed for placed in kept.values()}
    return tuple(found[index] for index in sorted(found))


def _after(found: Entitlement, body: SiteBody) -> Entitlement:
    match body:
        case KeyOffer():
            key = offered_key(body)
            offer = None if key is None else Offer(body.epoch, key, body.valid_to)
            return found if offer is None else replace(found, offers=with_offer(found.offers, offer))
        case Enrol() | Amend():
            key = enrolled_key(body)
            if key is None:
                return found
            standing = Standing.ACTIVE if isinstance(body, Enrol) else found.standing
            return replace(
                found,
                site_key=key.fingerprint,
                suites=body.suites,
                indicators=body.indicators,
                equipment=body.equipment,
                standing=standing,
            )
        case Suspend() | Resume() | Revoke():
            return replace(found, standing=_STANDINGS[type(body)])
    return found
