"""Rotation of the platform's keys: fresh keys, of new epochs, for sites whose keys end soon, or by command.

What was sealed to the keys before still opens. Safe to repeat after a crash: a site whose new key is in the ledger is
not due any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.control import Body
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm
from pipeline.core.names import SiteName
from pipeline.core.sealing import sealing_algorithms
from pipeline.core.state import ChainState, Offer
from pipeline.services.registrar import RegistrarDesk
from pipeline.services.registration import MakeKey, enrolled, new_offers

DAY_MS: Final = 86_400_000
MAX_EPOCH_DAYS: Final = 31
_RECORDS_AT_ONCE: Final = 64
"""Records of one batch, all in one block or few, so that a crash in between leaves little to be done again."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """A fresh key that a site was offered."""

    site: SiteName
    offer: Offer


def due(state: ChainState, now_ms: int, lead_ms: int) -> dict[SiteName, list[Algorithm]]:
    """Return the active sites, with the kinds of key that they lack or that end within ``lead_ms``."""
    found: dict[SiteName, list[Algorithm]] = {}
    for name, site in state.tables.sites.items():
        if not site.active:
            continue
        ends = _ends(state, name)
        ending = [kind for kind in sealing_algorithms(site.suites) if ends.get(kind, 0) <= now_ms + lead_ms]
        if ending:
            found[name] = ending
    return found


async def rotate_due(
    desk: RegistrarDesk, make_key: MakeKey, *, now_ms: int, lead_ms: int, valid_to: int
) -> list[Rotated]:
    """Offer fresh keys, good until ``valid_to`` (ms), to all sites whose keys end within ``lead_ms`` of ``now_ms``.

    Raises:
        ConfigError: the keys would last longer than an epoch may, or no longer than the lead.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``; what was offered by then stands.
    """
    _check(now_ms, valid_to, lead_ms)
    state = await desk.settle()
    return await _offer(desk, make_key, due(state, now_ms, lead_ms), valid_to)


async def rotate_sites(
    desk: RegistrarDesk, make_key: MakeKey, sites: Iterable[SiteName], *, now_ms: int, valid_to: int
) -> list[Rotated]:
    """Offer fresh keys of all kinds that their suites need to these sites, good until ``valid_to`` (ms).

    Raises:
        ConfigError: one is not enrolled; nothing was offered. Or the keys would last longer than an epoch may.
        ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.issue``; what was offered by then stands.
    """
    _check(now_ms, valid_to, 0)
    state = await desk.settle()
    wanted = {name: sealing_algorithms(enrolled(state, name).suites) for name in sites}
    return await _offer(desk, make_key, wanted, valid_to)


async def _offer(
    desk: RegistrarDesk, make_key: MakeKey, wanted: Mapping[SiteName, Sequence[Algorithm]], valid_to: int
) -> list[Rotated]:
    rotated: list[Rotated] = []
    names = list(wanted)
    for start in range(0, len(names), _RECORDS_AT_ONCE):
        state = await desk.settle()
        batch = names[start : start + _RECORDS_AT_ONCE]
        bodies: list[Body] = []
        for name in batch:
            bodies += new_offers(state, name, wanted[name], make_key, valid_to)
        await desk.issue(*bodies)
        after = (await desk.settle()).tables.offers
        rotated += [Rotated(name, offer) for name in batch for offer in after[name][-len(wanted[name]) :]]
    return rotated


def _ends(state: ChainState, name: SiteName) -> dict[Algorithm, int]:
    """Return when the newest key of each kind that a site was offered ends, ms."""
    return {offer.key.algorithm: offer.valid_to for offer in state.tables.offers.get(name, ())}


def _check(now_ms: int, valid_to: int, lead_ms: int) -> None:
    if valid_to - now_ms > MAX_EPOCH_DAYS * DAY_MS:
        raise ConfigError(f"a key of the platform is offered for at most {MAX_EPOCH_DAYS} days; name fewer")
    if valid_to <= now_ms + lead_ms:
        raise ConfigError(
            "the fresh keys would be due again at once; let them be good for longer than the lead"
        )
