"""Changes of enrolled sites on top of the desk: suspend, resume, revoke, another key, other rights (Y.4907 8.3).

Each is one record of the ledger, in force from its position; each can be repeated after a crash, and what is so
already is not issued again.
"""

from dataclasses import dataclass
from typing import Final

from pipeline.core.control import Amend, Body, Resume, Revoke, Suspend
from pipeline.core.errors import ConfigError
from pipeline.core.names import SiteName
from pipeline.core.sealing import SIGNING_ALGORITHM, Suite, sealing_algorithms
from pipeline.core.state import ChainState, Site
from pipeline.services.access import AccessAnswer, AccessRequest
from pipeline.services.registrar import RegistrarDesk
from pipeline.services.registration import MakeKey, Reply, answer_for, enrolled, new_offers

MAX_OVERLAP_MS: Final = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class Rights:
    """What a site may send, and for which equipment (16 bytes each)."""

    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...]


async def suspend(desk: RegistrarDesk, name: SiteName, reason: str) -> None:
    """Refuse a site's packets until it is resumed.

    Raises:
        ConfigError: the site is not enrolled, or the reason is out of its bounds.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``.
    """
    site = enrolled(await desk.settle(), name)
    if not site.suspended:
        await desk.issue(Suspend(name, site.key.fingerprint, reason))


async def resume(desk: RegistrarDesk, name: SiteName, reason: str) -> None:
    """Admit a suspended site's packets again, from where it stood.

    Raises:
        ConfigError, ConflictError, IntegrityError, TransientError: as for ``suspend``.
    """
    site = enrolled(await desk.settle(), name)
    if site.suspended:
        await desk.issue(Resume(name, site.key.fingerprint, reason))


async def revoke(desk: RegistrarDesk, name: SiteName, reason: str) -> None:
    """Refuse a site for good; its key never comes back.

    Raises:
        ConfigError, ConflictError, IntegrityError, TransientError: as for ``suspend``.
    """
    known = (await desk.settle()).tables.sites.get(name)
    if known is None or known.active:
        site = enrolled(await desk.settle(), name)
        await desk.issue(Revoke(name, site.key.fingerprint, reason))


async def transfer(
    desk: RegistrarDesk,
    request: AccessRequest,
    make_key: MakeKey,
    *,
    valid_to: int,
    reply: Reply,
    overlap_until_ms: int,
    is_key_lost: bool = False,
) -> AccessAnswer:
    """Give an enrolled site the key that its request names, with the rights that it has; its sequence goes on.

    Packets of the former key are admitted until ``overlap_until_ms``, but not where the former key did not sign the
    request: then it is lost (``is_key_lost``) and ends with this record.

    Raises:
        ConfigError: the site is not enrolled, or nobody vouches for the new key.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``.
    """
    state = await desk.settle()
    site = enrolled(state, request.site)
    if site.key != request.key:
        is_endorsed = request.is_endorsed_by(site.key)
        if not is_endorsed and not is_key_lost:
            raise ConfigError(
                f"{request.site}: its present key did not sign the request for a new one; make it with `bkdms site "
                "rotate`, or where that key is lost say so, after comparing the new key's fingerprint",
                code="config.access_key",
            )
        rights = Rights(request.suites, site.indicators, site.equipment)
        body = _amend(site, rights, request.possession, request, overlap_until_ms if is_endorsed else 0)
        await desk.issue(body, *_missing_offers(state, site.name, rights.suites, make_key, valid_to))
        state = await desk.settle()
    return answer_for(state, request.site, reply)


async def amend(
    desk: RegistrarDesk, name: SiteName, rights: Rights, make_key: MakeKey, *, valid_to: int, reply: Reply
) -> AccessAnswer:
    """Give an enrolled site other rights under the key that it has.

    Raises:
        ConfigError: the site is not enrolled, or its key can't be used with one of the suites.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``.
    """
    state = await desk.settle()
    site = enrolled(state, name)
    unfit = [
        suite.name.lower() for suite in rights.suites if SIGNING_ALGORITHM[suite] is not site.key.algorithm
    ]
    if unfit:
        raise ConfigError(
            f"{name}: suite {', '.join(unfit)} needs a key of another kind; transfer it to one first"
        )
    if rights != Rights(site.suites, site.indicators, site.equipment):
        body = _amend(site, rights, desk.possessions[site.key.fingerprint])
        await desk.issue(body, *_missing_offers(state, name, rights.suites, make_key, valid_to))
        state = await desk.settle()
    return answer_for(state, name, reply)


def _amend(
    site: Site, rights: Rights, possession: bytes, request: AccessRequest | None = None, until_ms: int = 0
) -> Amend:
    key = site.key if request is None else request.key
    return Amend(
        site.name,
        site.key.fingerprint,
        until_ms,
        key.algorithm,
        key.raw,
        possession,
        rights.suites,
        rights.indicators,
        rights.equipment,
    )


def _missing_offers(
    state: ChainState, site: SiteName, suites: tuple[Suite, ...], make_key: MakeKey, valid_to: int
) -> list[Body]:
    offered = {offer.key.algorithm for offer in state.tables.offers.get(site, ())}
    missing = [algorithm for algorithm in sealing_algorithms(suites) if algorithm not in offered]
    return new_offers(state, site, missing, make_key, valid_to)
