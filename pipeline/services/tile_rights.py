"""Which control records of an exported log a packet's proof needs: those that it was admitted by.

Nothing found is believed: the proof built from it is verified.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.core.admission import offered_key
from pipeline.core.block import Header
from pipeline.core.contract import Contract
from pipeline.core.control import Amend, BackfillGrant, Enrol, KeyOffer, NewContract, Registrars
from pipeline.core.genesis import Genesis
from pipeline.core.packet import Packet
from pipeline.core.proven import Proven
from pipeline.core.sealing import SEALING_ALGORITHM
from pipeline.services.tile_search import FoundRight, Right, RightsSearch


@dataclass(frozen=True, slots=True)
class FoundRights:
    """Leaf indexes of what a packet was admitted by; see ``Evidence``."""

    enrolment: int
    key_offer: int
    grant: int | None
    registrars: tuple[int, ...]
    contract: int | None
    amendments: tuple[int, ...]


def find_rights(
    genesis: Genesis, search: RightsSearch, header: Header, packet: Packet, entry: Proven
) -> FoundRights | str:
    """Return what the packet of a block was admitted by, or what the log has not got.

    Raises:
        UnreadableError: the log is damaged on the way.
    """
    contract = _contract(genesis, search, header)
    if contract is None:
        return "contract of its block"
    in_force, decided = contract
    is_old = packet.collected_from < entry.time_ms - in_force.max_age_ms
    enrolment, offer, grant = None, None, None
    amendments: list[FoundRight] = []
    for found in search.before(packet.site, entry.leaf_index):
        if isinstance(found.body, Enrol) and enrolment is None:
            enrolment = found
        elif isinstance(found.body, Amend) and enrolment is None:
            amendments.insert(0, found)
        elif offer is None and _is_used(packet, found.body):
            offer = found
        elif grant is None and is_old and _covers(packet, entry.time_ms, found.body):
            grant = found
        if enrolment is not None and offer is not None and (grant is not None or not is_old):
            break
    if enrolment is None or offer is None or (grant is None and is_old):
        missing = "enrolment" if enrolment is None else "key offer" if offer is None else "backfill grant"
        return f"{missing} of {packet.site}"
    needed = tuple(_needed(enrolment, amendments))
    issued = [found for found in (enrolment, *needed, offer, grant) if found is not None]
    return FoundRights(
        enrolment.leaf_index,
        offer.leaf_index,
        None if grant is None else grant.leaf_index,
        _registrars(genesis, search, issued),
        decided,
        tuple(found.leaf_index for found in needed),
    )


def _contract(genesis: Genesis, search: RightsSearch, header: Header) -> tuple[Contract, int | None] | None:
    """Return the contract of a block, and the leaf of its record where it is not that of the genesis file."""
    if header.contract_hash == genesis.contract.hash:
        return genesis.contract, None
    for found in search.before(None, header.first_index):
        if isinstance(found.body, NewContract) and found.body.contract.hash == header.contract_hash:
            return found.body.contract, found.leaf_index
    return None


def _needed(enrolment: FoundRight, amendments: list[FoundRight]) -> Iterator[FoundRight]:
    """Yield those that changed the site's key, and the last: the others were replaced by it."""
    key = _key(enrolment)
    for found in amendments:
        if _key(found) != key or found is amendments[-1]:
            yield found
        key = _key(found)


def _key(found: FoundRight) -> bytes:
    return found.body.signing_key if isinstance(found.body, Enrol | Amend) else b""


def _registrars(genesis: Genesis, search: RightsSearch, issued: list[FoundRight]) -> tuple[int, ...]:
    """Return the changes of registrars that show each issuer to have been one at the place of its record."""
    shown: list[int] = []
    known = {key.fingerprint for key in genesis.registrars}
    for found in sorted(issued, key=lambda item: item.leaf_index):
        if found.issuer in known:
            continue
        for change in search.before(None, found.leaf_index):
            if isinstance(change.body, Registrars):
                shown.append(change.leaf_index)
                known = {key.fingerprint for key in change.body.keys}
                break
    return tuple(shown)


def _is_used(packet: Packet, body: Right) -> bool:
    if not isinstance(body, KeyOffer) or body.algorithm is not SEALING_ALGORITHM[packet.suite]:
        return False
    key = offered_key(body)
    return key is not None and any(reader.key == key.fingerprint for reader in packet.recipients)


def _covers(packet: Packet, time_ms: int, body: Right) -> bool:
    if not isinstance(body, BackfillGrant) or time_ms > body.expires_ms:
        return False
    return body.collected_from <= packet.collected_from and packet.collected_to <= body.collected_to
