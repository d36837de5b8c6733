"""Golden vectors of the core: bytes made without the code under test, which has to agree with them."""

import json
from typing import Any

import pytest

from pipeline.core import avro
from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import bytes_value, encode_certified, parse_block, parse_certified
from pipeline.core.contract import Contract
from pipeline.core.control import Action, Control, control_id, parse_control, sign_control
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.genesis import encode_genesis, parse_genesis
from pipeline.core.keys import PublicKey, Use
from pipeline.core.names import SiteName
from pipeline.core.packet import (
    Opened,
    Packet,
    leaf_salt,
    open_packet,
    parse_packet,
    record_context,
    record_leaf,
    records_digest,
)
from pipeline.core.record import QualityCode, decode_record, encode_record
from pipeline.core.replica import Extended, extend
from pipeline.core.sealing import SEALING_ALGORITHM, SIGNING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer, verify
from pipeline.core.state import ChainState
from pipeline.core.storage import Content, Status, kpi_records
from pipeline.core.tracing import TracingCode, parse_tracing_code
from schemas import schema
from tests.vectors import generate_core
from tests.vectors.core_world import FOLDER


def vector(name: str) -> Any:
    """Return a stored vector file."""
    return json.loads((FOLDER / f"core_{name}.json").read_text())


GENESIS = parse_genesis(vector("genesis")["file"].encode())
PACKETS: list[dict[str, Any]] = vector("packets")
BLOCKS: dict[str, Any] = vector("block")
BY_SUITE = pytest.mark.parametrize("stored", PACKETS, ids=[Suite(p["suite"]).name for p in PACKETS])


def raw(value: str) -> bytes:
    """Return the bytes of a hex text."""
    return bytes.fromhex(value)


@pytest.mark.parametrize("name", sorted(generate_core.files()))
def test_the_stored_vectors_are_those_of_the_generator(name: str) -> None:
    assert (FOLDER / name).read_text() == generate_core.files()[name]


def parsed(stored: dict[str, Any]) -> Packet:
    """Return a stored packet, parsed."""
    packet = parse_packet(raw(stored["raw"]))
    assert isinstance(packet, Packet)
    return packet


@BY_SUITE
def test_a_stored_packet_keeps_its_identifier_and_its_clear_part(stored: dict[str, Any]) -> None:
    packet = parsed(stored)
    assert packet.packet_id == raw(stored["packet_id"])
    assert packet.clear == packet.raw[: stored["clear_length"]]


@BY_SUITE
def test_a_stored_packet_verifies_under_the_key_of_its_site(stored: dict[str, Any]) -> None:
    packet = parsed(stored)
    key = PublicKey(Use.SITE, SIGNING_ALGORITHM[packet.suite], raw(stored["site_public"]))
    assert key.fingerprint == packet.site_key == raw(stored["site_key"])
    assert verify(key, packet.signature, packet.signed)


@BY_SUITE
def test_a_stored_packet_opens_for_the_key_that_it_was_sealed_to(stored: dict[str, Any]) -> None:
    packet = parsed(stored)
    key = SealingKey(SEALING_ALGORITHM[packet.suite], raw(stored["platform_secret"]))
    assert key.public.raw == raw(stored["platform_public"])
    assert key.public.fingerprint == packet.recipients[0].key == raw(stored["platform_key"])
    assert open_packet(packet, key) == Opened(raw(stored["seed"]), tuple(map(raw, stored["records"])))


@BY_SUITE
def test_a_stored_packet_keeps_salts_leaves_and_digest(stored: dict[str, Any]) -> None:
    packet, seed = parsed(stored), raw(stored["seed"])
    records = [raw(item) for item in stored["records"]]
    context = record_context(packet.chain, packet.site.site_id, packet.site_key, packet.sequence, 2)
    salts = [leaf_salt(seed, i) for i in range(2)]
    assert salts == [raw(item) for item in stored["salts"]]
    leaves = [record_leaf(context, i, salts[i], records[i]) for i in range(2)]
    assert leaves == [raw(item) for item in stored["leaves"]]
    assert records_digest(context, seed, records) == packet.digest == raw(stored["digest"])


def test_the_unified_record_decodes_to_its_fields_and_back() -> None:
    stored = vector("record")
    record = decode_record(raw(stored["raw"]))
    assert record is not None
    assert record.extending is not None
    assert (record.time_ms, record.values[0].unscaled) == (stored["time"], stored["unscaled"])
    assert str(record.values[0].exact) == "-2.46"
    assert (record.extending.sensor, record.extending.quality) == (
        "sensor-2",
        QualityCode.SURVEY_EXTRAPOLATION,
    )
    assert encode_record(record) == raw(stored["raw"])


def test_the_default_contract_has_the_stored_bytes_and_hash() -> None:
    stored = vector("contract")
    assert Contract().encode() == raw(stored["raw"])
    assert Contract().hash == raw(stored["hash"])


def test_the_genesis_file_gives_chain_and_origin_and_is_written_the_same() -> None:
    stored = vector("genesis")
    assert (GENESIS.chain.hex(), GENESIS.origin) == (stored["chain"], stored["origin"])
    again = encode_genesis(
        url=GENESIS.url,
        topic=GENESIS.topic,
        partition=GENESIS.partition,
        root_keys=GENESIS.root_keys,
        root_threshold=GENESIS.root_threshold,
        registrars=GENESIS.registrars,
        policy=GENESIS.policy,
        log_key=GENESIS.log_key,
        contract=GENESIS.contract,
    )
    assert again.decode() == stored["file"]


def test_control_records_of_every_action_of_a_registrar_are_signed_to_the_stored_bytes() -> None:
    stored = vector("control")
    signer = Ed25519Signer(raw(stored["secret"]), Use.REGISTRAR)
    assert signer.public.fingerprint == raw(stored["issuer"])
    previous = bytes(32)
    for sequence, item in enumerate(stored["records"], 1):
        control = parse_control(raw(item["raw"]))
        assert isinstance(control, Control)
        assert control.previous == previous
        assert sign_control(GENESIS.chain, signer, sequence, previous, control.body) == control.raw
        previous = control.control_id
        assert previous == control_id(control.raw) == raw(item["id"])
    assert {item["action"] for item in stored["records"]} == set(range(Action.ENROL, Action.REANCHOR))


def derived() -> tuple[list[Derived], list[int], ChainState]:
    """Return the blocks that the stored log gives, the outcomes, and the state after it."""
    deriver, blocks, outcomes = Deriver(ChainState(GENESIS)), list[Derived](), list[int]()
    for offset, time, value, _ in BLOCKS["log"]:
        fed = deriver.feed(LogRecord(offset, time, raw(value)))
        blocks.extend(fed.closed)
        outcomes.append(int(fed.outcome))
    return blocks, outcomes, deriver.state


def test_the_stored_log_gives_the_stored_outcomes() -> None:
    assert derived()[1] == [outcome for *_, outcome in BLOCKS["log"]]
    assert raw(BLOCKS["log"][-1][2]) == TICK_VALUE


@pytest.mark.parametrize("index", [0, 1])
def test_the_stored_log_gives_the_stored_block(index: int) -> None:
    found, stored = derived()[0][index], BLOCKS["blocks"][index]
    block = found.block
    assert block.header_bytes.hex() == stored["header"]
    assert block.encoded.hex() == stored["encoded"]
    assert block.hash.hex() == stored["hash"]
    assert [leaf.hex() for leaf in block.leaf_hashes] == stored["leaves"]
    assert block.header.entries_root.hex() == stored["entries_root"]
    assert block.header.log_digest.hex() == stored["log_digest"]
    assert found.checkpoint.body().decode() == stored["checkpoint"]
    assert parse_block(raw(stored["encoded"])) == block


def replica() -> tuple[list[Extended], ChainState]:
    """Return the stored certified blocks, applied, and the state after them."""
    state, extended = ChainState(GENESIS), list[Extended]()
    for stored in BLOCKS["blocks"]:
        result = extend(state, raw(stored["encoded"]) + bytes_value(stored["certificate"].encode()))
        assert isinstance(result, Extended)
        extended.append(result)
    return extended, state


def test_the_stored_certified_blocks_extend_the_chain_to_the_stored_state() -> None:
    state, stored = replica()[1], BLOCKS["state"]
    tables, head = state.tables, state.head
    keys = {name: site.key.fingerprint.hex() for name, site in tables.sites.items()}
    assert {keys[name]: site.active for name, site in tables.sites.items()} == stored["sites"]
    assert {keys[n]: [p.sequence, p.last_id.hex()] for n, p in tables.positions.items()} == stored[
        "positions"
    ]
    offers = {
        keys[name]: [[offer.epoch, offer.key.fingerprint.hex(), offer.valid_to] for offer in found]
        for name, found in tables.offers.items()
    }
    assert offers == stored["offers"]
    first = SiteName("US", "unlocode:USMES", bytes(10) + b"\xff\xff\x0a\0\0\1")
    grants = [[g.collected_from, g.collected_to, g.expires_ms] for g in tables.grants[first]]
    assert grants == stored["grants"]
    (issuer,) = tables.issuers.values()
    assert [issuer.sequence, issuer.last_id.hex()] == stored["issuer"]
    assert [head.height, head.next_offset, head.frontier.size] == [
        stored["height"],
        stored["next_offset"],
        stored["tree_size"],
    ]


def test_a_certified_block_is_read_as_the_two_parts_that_it_was_put_together_from() -> None:
    for stored in BLOCKS["blocks"]:
        block = parse_block(raw(stored["encoded"]))
        assert block is not None
        certificate = stored["certificate"].encode()
        assert parse_certified(encode_certified(block, certificate)) == (block, certificate)


@pytest.mark.parametrize("index", [0, 1])
def test_storage_records_name_the_stored_places_and_codes(index: int) -> None:
    extended = replica()[0][index]
    found = kpi_records(extended, [Content(Status.UNOPENED)] * 3)
    encoded = [
        avro.encode(
            schema("StorageRecord"),
            {
                "data_recorder": {"offset": item.data_recorder.offset, "length": item.data_recorder.length},
                "block_recorder": {
                    "offset": item.block_recorder.offset,
                    "length": item.block_recorder.length,
                },
                "city_data": item.city_data,
                "chain_id": item.chain_id,
                "tracing_code": item.tracing_code,
                "check_code": item.check_code,
            },
        ).hex()
        for item in found
    ]
    assert encoded == BLOCKS["blocks"][index]["storage"]


@pytest.mark.parametrize("stored", vector("tracing"), ids=lambda stored: str(stored["code"]))
def test_a_tracing_code_is_written_and_read_as_stored(stored: dict[str, Any]) -> None:
    code = TracingCode(raw(stored["chain"]), stored["height"], stored["entry"])
    assert str(code) == stored["code"]
    assert parse_tracing_code(stored["code"]) == code
