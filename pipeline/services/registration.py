"""Decisions about sites on top of the desk: let in, offer a new key, and the answer that a site gets.

Each can be repeated after a crash: what is in the ledger already is not issued again.
"""

from collections.abc import Callable

from pipeline.core.control import Body
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, PublicKey
from pipeline.core.names import SiteName
from pipeline.core.sealing import SEALING_ALGORITHM
from pipeline.core.state import ChainState, Site
from pipeline.services.access import AccessAnswer, AccessRequest
from pipeline.services.registrar import RegistrarDesk, enrolment, key_offer

MakeKey = Callable[[Algorithm], PublicKey]
"""Makes a sealing key of the platform, keeps its private half durably, and returns the public one."""


async def approve(
    desk: RegistrarDesk,
    request: AccessRequest,
    make_key: MakeKey,
    *,
    valid_to: int,
    indicators: tuple[str, ...] | None = None,
) -> AccessAnswer:
    """Enrol a site and offer it a key for each kind that its suites need, valid to ``valid_to`` (ms).

    Raises:
        ConfigError: the site is enrolled with another key or other rights, or the chain would refuse it.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``.
    """
    state = await desk.settle()
    enrol = enrolment(request, indicators)
    known = state.tables.sites.get(request.site)
    needed = list(dict.fromkeys(SEALING_ALGORITHM[suite] for suite in request.suites))
    bodies: list[Body] = []
    if known is None or not known.active:
        bodies.append(enrol)
    elif (known.key, known.suites, known.indicators, known.equipment) == (
        request.key,
        enrol.suites,
        enrol.indicators,
        enrol.equipment,
    ):
        offered = {offer.key.algorithm for offer in state.tables.offers.get(request.site, ())}
        needed = [algorithm for algorithm in needed if algorithm not in offered]
    else:
        raise ConfigError(
            f"{request.site} is enrolled with another key or other rights; revoke it first, then approve again",
            code="config.enrolled",
        )
    bodies.extend(_offers(state, request.site, needed, make_key, valid_to))
    if bodies:
        await desk.issue(*bodies)
        state = await desk.settle()
    return answer_for(state, request.site)


async def offer_anew(
    desk: RegistrarDesk, site: SiteName, make_key: MakeKey, *, valid_to: int
) -> AccessAnswer:
    """Offer a site a fresh key, of a new epoch, for each kind that its suites need.

    Raises:
        ConfigError: the site is not enrolled.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``.
    """
    state = await desk.settle()
    needed = list(dict.fromkeys(SEALING_ALGORITHM[suite] for suite in enrolled(state, site).suites))
    await desk.issue(*_offers(state, site, needed, make_key, valid_to))
    return answer_for(await desk.settle(), site)


def enrolled(state: ChainState, site: SiteName) -> Site:
    """Return the registry entry of an active site.

    Raises:
        ConfigError: there is none, or it is revoked.
    """
    found = state.tables.sites.get(site)
    if found is None or not found.active:
        problem = "is not enrolled" if found is None else "is revoked"
        raise ConfigError(f"{site} {problem}; check the spelling COUNTRY/CITY/SITE_ID", code="config.site")
    return found


def answer_for(state: ChainState, name: SiteName) -> AccessAnswer:
    """Return what the ledger says that an active site may do, and the keys offered to it.

    Raises:
        ConfigError: the site is not enrolled.
    """
    site = enrolled(state, name)
    return AccessAnswer(
        state.chain,
        name,
        site.key.fingerprint,
        site.suites,
        site.indicators,
        site.equipment,
        state.tables.offers.get(name, ()),
    )


def _offers(
    state: ChainState, site: SiteName, algorithms: list[Algorithm], make_key: MakeKey, valid_to: int
) -> list[Body]:
    earlier = state.tables.offers.get(site, ())
    first = earlier[-1].epoch + 1 if earlier else 1
    return [
        key_offer(site, first + index, make_key(algorithm), valid_to)
        for index, algorithm in enumerate(algorithms)
    ]
