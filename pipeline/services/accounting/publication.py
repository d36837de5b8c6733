"""What publishing a committed block puts on topics: refusals, site registrations, the block itself."""

from pipeline.core import avro
from pipeline.core.admission import enrolled_key
from pipeline.core.block import CERTIFIED_BLOCK, Block, Kind, parse_certified
from pipeline.core.control import Amend, Control, Enrol, NewContract, Registrars, parse_control
from pipeline.core.derive import Derived
from pipeline.core.genesis import Genesis
from pipeline.core.topics import Topics
from pipeline.ports import LedgerBlock, Outgoing
from pipeline.services.rejection import rejection
from pipeline.services.site_directory import (
    AUTHORITY_REGISTRATION,
    SITE_REGISTRATION,
    RegisteredBody,
    is_admitting,
)


def publication(
    genesis: Genesis, topics: Topics, block: LedgerBlock, derived: Derived | None
) -> list[Outgoing]:
    """Return what publishing a committed block sends: refusals, site registrations, the block last.

    ``derived`` is the same block as this node derived it, if it still has that: refusals are known from it alone.
    """
    records = [
        rejection(
            topics.rejected,
            stage="chain",
            reason=item.outcome.label,
            source=(genesis.topic, genesis.partition, item.record.offset, item.record.time_ms),
            value=item.record.value or b"",
        )
        for item in (derived.refused if derived is not None else ())
    ]
    records += registrations(genesis, topics, derived.block if derived is not None else _decoded(block))
    records.append(
        Outgoing(topics.blocks, block_value(block), block_key(genesis, block.height), genesis.partition)
    )
    return records


def _decoded(block: LedgerBlock) -> Block:
    parsed = parse_certified(block.certified)
    if parsed is None:
        raise ValueError("a committed block decodes")
    return parsed[0]


def block_value(block: LedgerBlock) -> bytes:
    """Return a certified block framed for the blocks topic."""
    return avro.frame(CERTIFIED_BLOCK, block.certified)


def block_key(genesis: Genesis, height: int) -> bytes:
    """Return the key of a block's record: chain and height."""
    return genesis.chain + height.to_bytes(8, "big")


def registrations(genesis: Genesis, topics: Topics, block: Block) -> list[Outgoing]:
    """Return what a block's control records cause on the sites topic, for validators."""
    found = []
    for index, entry in enumerate(block.entries):
        control = parse_control(entry.payload) if entry.kind is Kind.CONTROL else None
        if not isinstance(control, Control):
            continue
        place = (block.header.height, index)
        if isinstance(control.body, RegisteredBody):
            found.append(_registration(genesis, topics, place, control.body, control.raw))
        elif isinstance(control.body, Registrars | NewContract):
            value = {"chain": genesis.chain, "height": place[0], "entry": place[1], "control": control.raw}
            framed = avro.frame(AUTHORITY_REGISTRATION, avro.encode(AUTHORITY_REGISTRATION, value))
            # All of them stay: who was a registrar at the time is asked of every enrolment.
            found.append(Outgoing(topics.sites, framed, genesis.chain + control.control_id))
    return found


def _registration(
    genesis: Genesis, topics: Topics, place: tuple[int, int], body: RegisteredBody, control: bytes
) -> Outgoing:
    site = body.site
    value = {
        "chain": genesis.chain,
        "country": site.country,
        "city": site.city,
        "site_id": site.site_id,
        "active": is_admitting(body),
        "height": place[0],
        "entry": place[1],
        "control": control,
    }
    key = genesis.chain + f"{site.country}/{site.city}/".encode() + site.site_id
    enrolled = enrolled_key(body) if isinstance(body, Enrol | Amend) else None
    if enrolled is not None:
        # Of each of a site's keys the last word stays, so that a view made anew knows replaced ones, too.
        key += enrolled.fingerprint
    return Outgoing(topics.sites, avro.frame(SITE_REGISTRATION, avro.encode(SITE_REGISTRATION, value)), key)
