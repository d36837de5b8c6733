"""Agreement: which suite and which of the platform's keys a site seals its next packet with, or why with none.

Pure choice. The registrar offers (signed key offers, grants of suites); the site accepts by its signature over a packet
that names suite and key. A site never goes below the strength it was let in with, nor back to an earlier epoch.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.core.contract import Contract
from pipeline.core.keys import Algorithm
from pipeline.core.sealing import SEALING_ALGORITHM, SIGNING_ALGORITHM, Suite
from pipeline.core.state import Offer

# What holds against a quantum computer that is built later is stronger than what holds today alone.
STRENGTH: Final = {Suite.XWING: 2, Suite.LIGHT: 1, Suite.P256: 1}


class Standing(StrEnum):
    """Whether a site's packets are admitted."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class Hold(StrEnum):
    """Why a site seals nothing for now; records wait in its spool."""

    SUSPENDED = "suspended"
    REVOKED = "revoked"
    OTHER_KEY = "other_key"
    NOT_GRANTED = "not_granted"
    WEAKER_SUITE = "weaker_suite"
    SUITE_EXPIRED = "suite_expired"
    NO_KEY = "no_key"
    KEY_EXPIRED = "key_expired"


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What the ledger lets a site do, as far as the site knows: key (fingerprint), rights, offers by epoch."""

    site_key: bytes
    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...]
    offers: tuple[Offer, ...]
    standing: Standing = Standing.ACTIVE

    def newest(self, suite: Suite) -> Offer | None:
        """Return the offered key of the highest epoch that packets of ``suite`` can be sealed to."""
        wanted = SEALING_ALGORITHM[suite]
        fitting = [offer for offer in self.offers if offer.key.algorithm is wanted]
        return max(fitting, key=lambda offer: offer.epoch, default=None)


@dataclass(frozen=True, slots=True)
class Agreed:
    """Suite and platform key of the next packet; ``suite_ends_ms`` is when the contract ends the suite, 0 for never."""

    suite: Suite
    offer: Offer
    suite_ends_ms: int


def with_offer(offers: tuple[Offer, ...], offer: Offer) -> tuple[Offer, ...]:
    """Return offers by epoch with one more; an epoch that is there already stays as it was."""
    if any(known.epoch == offer.epoch for known in offers):
        return offers
    return tuple(sorted((*offers, offer), key=lambda item: item.epoch))


def strongest(suites: tuple[Suite, ...], signing: Algorithm) -> tuple[Suite, ...]:
    """Return the strongest of the suites that go with a signing key of this algorithm, in the order given."""
    fitting = [suite for suite in suites if SIGNING_ALGORITHM[suite] is signing]
    top = max((STRENGTH[suite] for suite in fitting), default=0)
    return tuple(suite for suite in fitting if STRENGTH[suite] == top)


def agree(
    entitlement: Entitlement, contract: Contract, signing: Algorithm, floor: Suite, now_ms: int
) -> Agreed | Hold:
    """Choose suite and key at ``now_ms``: the strongest granted suite, with the key of its highest epoch, or none.

    ``signing`` is the algorithm of the site's key, ``floor`` the suite that it was let in with. An ended key is not
    replaced by an earlier one that lasts longer, and an ended suite not by a weaker one.
    """
    if entitlement.standing is not Standing.ACTIVE:
        return Hold(entitlement.standing.value)
    chosen = strongest(entitlement.suites, signing)
    if not chosen or STRENGTH[chosen[0]] < STRENGTH[floor]:
        return Hold.WEAKER_SUITE
    problem = Hold.SUITE_EXPIRED
    for suite in chosen:
        if not contract.accepts(suite, now_ms):
            continue
        offer = entitlement.newest(suite)
        if offer is not None and now_ms <= offer.valid_to:
            return Agreed(suite, offer, _ends_ms(contract, suite))
        problem = Hold.NO_KEY if offer is None else Hold.KEY_EXPIRED
    return problem


def _ends_ms(contract: Contract, suite: Suite) -> int:
    return next(term.expires_ms for term in contract.suites if term.suite is suite)
