"""What publishing a committed block puts on topics: refusals, site registrations, the block itself."""

from collections.abc import Sequence

from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK, Block, Kind, parse_certified
from pipeline.core.control import Control, Enrol, Revoke, parse_control
from pipeline.core.derive import Refused
from pipeline.core.genesis import Genesis
from pipeline.core.topics import Topics
from pipeline.ports import LedgerBlock, Outgoing
from pipeline.services.rejection import rejection
from schemas import schema

_REGISTRATION = schema("SiteRegistration")


def publication(
    genesis: Genesis, topics: Topics, block: LedgerBlock, refused: Sequence[Refused]
) -> list[Outgoing]:
    """Return what publishing a committed block sends: refusals, site registrations, the block last."""
    parsed = parse_certified(block.certified)
    if parsed is None:
        raise ValueError("a committed block decodes")
    records = [
        rejection(
            topics.rejected,
            stage="chain",
            reason=item.outcome.label,
            source=(genesis.topic, genesis.partition, item.record.offset, item.record.time_ms),
            value=item.record.value or b"",
        )
        for item in refused
    ]
    records += registrations(genesis, topics, parsed[0])
    records.append(
        Outgoing(topics.blocks, block_value(block), block_key(genesis, block.height), genesis.partition)
    )
    return records


def block_value(block: LedgerBlock) -> bytes:
    """Return a certified block framed for the blocks topic."""
    return avro.frame(CERTIFIED_BLOCK, block.certified)


def block_key(genesis: Genesis, height: int) -> bytes:
    """Return the key of a block's record: chain and height."""
    return genesis.chain + height.to_bytes(8, "big")


def registrations(genesis: Genesis, topics: Topics, block: Block) -> list[Outgoing]:
    """Return the site registrations that a block's control records cause, for validators."""
    found = []
    for index, entry in enumerate(block.entries):
        control = parse_control(entry.payload) if entry.kind is Kind.CONTROL else None
        if isinstance(control, Control) and isinstance(control.body, Enrol | Revoke):
            place = (block.header.height, index)
            found.append(_registration(genesis, topics, place, control.body, control.raw))
    return found


def _registration(
    genesis: Genesis, topics: Topics, place: tuple[int, int], body: Enrol | Revoke, control: bytes
) -> Outgoing:
    site = body.site
    value = {
        "chain": genesis.chain,
        "country": site.country,
        "city": site.city,
        "site_id": site.site_id,
        "active": isinstance(body, Enrol),
        "height": place[0],
        "entry": place[1],
        "control": control,
    }
    key = genesis.chain + f"{site.country}/{site.city}/".encode() + site.site_id
    return Outgoing(topics.sites, avro.frame(_REGISTRATION, avro.encode(_REGISTRATION, value)), key)
