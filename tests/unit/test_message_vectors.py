"""Golden vectors of the records of all topics, and of what is stored of a packet (Y.4907 Table 10-3)."""

from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK, encode_certified, parse_certified
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint
from pipeline.core.keys import Use
from pipeline.core.replica import Extended, extend
from pipeline.core.sealing import SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import ChainState
from pipeline.core.storage import Content, Status, kpi_records
from pipeline.core.topics import Topics
from pipeline.services.accounting.publication import block_key, block_value, registrations
from pipeline.services.accounting.startup import ledger_block
from pipeline.services.accounting.votes import Candidate, genuine_lines, parse_vote, vote_message
from pipeline.services.rejection import rejection
from schemas import schema
from tests.support.golden import GENESIS, blocks_topic, golden
from tests.support.simulated_consumers import PlatformConsumer
from tests.support.simulated_time import SimulatedLoop
from tests.support.world import World
from tests.vectors.core_world import secrets


def raw(value: str) -> bytes:
    """Return the bytes of a hex text."""
    return bytes.fromhex(value)


def blocks() -> list[Extended]:
    """Return the two golden blocks, verified."""
    state, found = ChainState(GENESIS), list[Extended]()
    for value in blocks_topic().values:
        extended = extend(state, (value or b"")[avro.FRAME_BYTES :])
        assert isinstance(extended, Extended)
        found.append(extended)
    return found


def test_a_node_votes_with_the_stored_bytes() -> None:
    stored, second = golden("message_vote"), blocks()[1]
    checkpoint = parse_checkpoint(golden("core_block")["blocks"][1]["checkpoint"].encode())
    assert isinstance(checkpoint, Checkpoint)
    about = Candidate(2, second.block.hash, checkpoint)
    signer = Ed25519Signer(raw(stored["secret"]), Use.NODE)
    value = vote_message(GENESIS.chain, about, stored["node"], (signer,), stored["time"])
    assert value == raw(stored["value"])


def test_the_stored_vote_is_read_and_genuine() -> None:
    stored = golden("message_vote")
    vote = parse_vote(GENESIS.chain, raw(stored["value"]))
    assert vote is not None
    assert (vote.height, vote.node, len(genuine_lines(GENESIS.origin, GENESIS.policy, vote))) == (
        2,
        stored["node"],
        1,
    )


def test_a_refused_record_becomes_the_stored_dead_letter() -> None:
    stored = golden("message_rejection")
    offset, time, value, _ = golden("core_block")["log"][stored["offset"]]
    source = (GENESIS.topic, GENESIS.partition, offset, time)
    letter = rejection("t", stage="chain", reason="duplicate", source=source, value=raw(value))
    assert letter.value == raw(stored["value"])
    assert {name: content.decode() for name, content in letter.headers} == stored["headers"]


def test_the_golden_blocks_register_sites_with_the_stored_bytes() -> None:
    sent = [item for found in blocks() for item in registrations(GENESIS, Topics(), found.block)]
    assert [{"key": item.key, "value": item.value} for item in sent] == [
        {name: raw(text) for name, text in stored.items()} for stored in golden("message_registration")
    ]


def test_the_golden_blocks_are_published_with_the_stored_keys_and_bytes() -> None:
    for found, stored in zip(blocks(), golden("message_block"), strict=True):
        block = ledger_block(found.block, encode_certified(found.block, found.certificate))
        assert (block_key(GENESIS, block.height), block_value(block)) == (
            raw(stored["key"]),
            raw(stored["value"]),
        )
        assert avro.frame_id(raw(stored["value"])) == CERTIFIED_BLOCK.id
        assert parse_certified(block.certified) == (found.block, found.certificate)


def test_the_platform_publishes_the_stored_observations(tmp_path: Path) -> None:
    loop = SimulatedLoop()
    keys = {}
    for suite in Suite:
        key = SealingKey(SEALING_ALGORITHM[suite], secrets(suite)[1][1])
        keys[key.public.fingerprint] = key
    world = cast("World", type("Golden", (), {"genesis": GENESIS}))
    platform = PlatformConsumer(loop, world, blocks_topic(), tmp_path, keys.get)
    platform.drain()
    platform.stop()
    loop.close()
    assert [{"key": item.key, "value": item.value} for item in platform.sent] == [
        {"key": stored["key"].encode(), "value": raw(stored["value"])}
        for stored in golden("message_observations")
    ]


@pytest.mark.parametrize("entry", range(3))
def test_a_packet_is_stored_with_the_stored_places_and_codes(entry: int) -> None:
    stored: dict[str, Any] = golden("storage_record")[entry]
    record = kpi_records(blocks()[1], [Content(Status.UNOPENED)] * 3)[entry]
    places = {"data_recorder": record.data_recorder, "block_recorder": record.block_recorder}
    fields = {name: {"offset": place.offset, "length": place.length} for name, place in places.items()}
    assert fields == {name: stored[name] for name in places}
    found = (record.chain_id, record.tracing_code, record.check_code.hex())
    assert found == (stored["chain_id"], stored["tracing_code"], stored["check_code"])
    encoded = avro.encode(
        schema("StorageRecord"),
        fields
        | {
            "city_data": record.city_data,
            "chain_id": record.chain_id,
            "tracing_code": record.tracing_code,
            "check_code": record.check_code,
        },
    )
    assert encoded == raw(stored["raw"])
