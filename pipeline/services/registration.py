"""Decisions about sites on top of the desk: let in, offer a new key, and the answer that a site gets.

Each can be repeated after a crash: what is in the ledger already is not issued again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.core.control import Body
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, PublicKey
from pipeline.core.names import SiteName
from pipeline.core.sealing import sealing_algorithms
from pipeline.core.state import ChainState, Site
from pipeline.services.access import AccessAnswer, AccessRequest
from pipeline.services.registrar import RegistrarDesk, enrolment, key_offer

MakeKey = Callable[[Algorithm], PublicKey]
"""Makes a sealing key of the platform, keeps its private half durably, and returns the public one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer says beside the rights: which request (32 bytes) it answers, when, until when it may be taken up.

    ``certificate`` is the site's transport certificate with its chain (PEM), or empty.
    """

    request: bytes
    issued_ms: int
    expires_ms: int
    certificate: str = ""


async def approve(
    desk: RegistrarDesk,
    request: AccessRequest,
    make_key: MakeKey,
    *,
    valid_to: int,
    reply: Reply,
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
    needed: Sequence[Algorithm] = sealing_algorithms(request.suites)
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
            f"{request.site} is enrolled with another key or other rights; for a new key use "
            "`bkdms registrar transfer`, for other rights `bkdms registrar amend`",
            code="config.enrolled",
        )
    bodies.extend(new_offers(state, request.site, needed, make_key, valid_to))
    if bodies:
        await desk.issue(*bodies)
        state = await desk.settle()
    return answer_for(state, request.site, reply)


async def offer_anew(
    desk: RegistrarDesk, site: SiteName, make_key: MakeKey, *, valid_to: int, reply: Reply
) -> AccessAnswer:
    """Offer a site a fresh key, of a new epoch, for each kind that its suites need.

    Raises:
        ConfigError: the site is not enrolled.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``.
    """
    state = await desk.settle()
    needed = sealing_algorithms(enrolled(state, site).suites)
    await desk.issue(*new_offers(state, site, needed, make_key, valid_to))
    return answer_for(await desk.settle(), site, reply)


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


def answer_for(state: ChainState, name: SiteName, reply: Reply) -> AccessAnswer:
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
        reply.request,
        reply.issued_ms,
        reply.expires_ms,
        reply.certificate,
        site.previous_until_ms,
    )


def new_offers(
    state: ChainState, site: SiteName, algorithms: Sequence[Algorithm], make_key: MakeKey, valid_to: int
) -> list[Body]:
    """Return offers of fresh keys of these kinds to a site, of the epochs that come next."""
    earlier = state.tables.offers.get(site, ())
    first = earlier[-1].epoch + 1 if earlier else 1
    return [
        key_offer(site, first + index, make_key(algorithm), valid_to)
        for index, algorithm in enumerate(algorithms)
    ]
