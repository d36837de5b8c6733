"""No bytes raise: decoders answer any input, genuine or mutated, with the one value it encodes or a refusal."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import avro
from pipeline.core.admission import is_issued, parse_value
from pipeline.core.block import Block, bytes_value, encode_certified, parse_block, parse_certified
from pipeline.core.control import Control, parse_control
from pipeline.core.genesis import parse_genesis
from pipeline.core.keys import PublicKey, Use
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.record import UnifiedRecord, decode_record, encode_record
from pipeline.core.replica import BlockProblem, extend
from pipeline.core.sealing import SIGNING_ALGORITHM, Suite
from pipeline.core.signing import verify
from pipeline.core.site_head import ReceiptProblem, parse_site_head
from pipeline.core.state import ChainState
from schemas import Schema, ids, schema
from tests.vectors.core_world import FOLDER

Parser = Callable[[bytes], object]
ALL_SCHEMAS = [schema(name) for name in ids()]


def vector(name: str) -> Any:
    """Return a stored vector file."""
    return json.loads((FOLDER / f"core_{name}.json").read_text())


GENESIS = parse_genesis(vector("genesis")["file"].encode())
PACKETS = [bytes.fromhex(item["raw"]) for item in vector("packets")]
SITE_KEYS = [
    PublicKey(Use.SITE, SIGNING_ALGORITHM[Suite(p["suite"])], bytes.fromhex(p["site_public"]))
    for p in vector("packets")
]
CONTROLS = [bytes.fromhex(item["raw"]) for item in vector("control")["records"]]
RECORDS = [bytes.fromhex(item) for packet in vector("packets") for item in packet["records"]]
CERTIFIED = [
    bytes.fromhex(item["encoded"]) + bytes_value(item["certificate"].encode())
    for item in vector("block")["blocks"]
]
GENUINE: list[tuple[Parser, bytes]] = [
    *((parse_packet, raw) for raw in PACKETS),
    *((parse_control, raw) for raw in CONTROLS),
    *((decode_record, raw) for raw in RECORDS),
    *((parse_certified, raw) for raw in CERTIFIED),
]
EXTREMES = [0, 1, -1, 2**31, -(2**31), 2**40, 2**62, -(2**62), 2**63 - 1, -(2**63)]


def varint(number: int, padding: int = 0) -> bytes:
    """Return Avro's encoding of a long, with ``padding`` needless bytes."""
    zigzag, out = ((number << 1) ^ (number >> 63)) & (2**64 - 1), bytearray()
    while zigzag > 127:
        out.append(zigzag & 127 | 128)
        zigzag >>= 7
    out.append(zigzag)
    if padding:
        out[-1] |= 128
        out += b"\x80" * (padding - 1) + b"\0"
    return bytes(out)


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(EXTREMES).map(varint),
    st.builds(varint, st.integers(-(2**63), 2**63 - 1), st.integers(0, 3)),
    st.sampled_from([b"\x04US", b"\x06\xed\xa0\x80", b"\x02\xff", b"\0" * 32, b"\xff" * 11, b"\x02\xed"]),
)
BYTES = st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=20).map(b"".join))


@st.composite
def mutations(draw: st.DrawFn, genuine: bytes) -> bytes:
    """Return genuine bytes with bits flipped, cut, extended, or with a number or byte replaced or inserted."""
    data = bytearray(genuine)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "cut", "extend", "number", "insert", "drop", "overlong"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "extend":
                data += draw(BYTES)
            case "number":
                data[at : at + 1] = varint(draw(st.sampled_from(EXTREMES)))
            case "insert":
                data[at:at] = draw(PIECES)
            case "overlong" if data:
                data[at : at + 1] = bytes([data[at] | 128, 0])
            case _:
                del data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


@given(BYTES, st.sampled_from(ALL_SCHEMAS))
def test_any_bytes_encode_one_value_or_none(data: bytes, described: Schema) -> None:
    value = avro.decode(described, data)
    if value is not None:
        assert avro.encode(described, value) == data


@given(BYTES)
def test_any_bytes_are_refused_by_every_parser(data: bytes) -> None:
    assert isinstance(parse_packet(data), Outcome)
    assert isinstance(parse_control(data), Outcome)
    assert parse_block(data) is None
    assert parse_certified(data) is None
    assert decode_record(data) is None
    assert isinstance(parse_site_head(data), ReceiptProblem)
    assert isinstance(parse_value(data), Outcome)


@given(st.data(), st.sampled_from([1, 4, 5, 7, 2**32 - 1]))
def test_any_bytes_behind_a_frame_are_a_record_or_a_refusal(data: st.DataObject, number: int) -> None:
    body = data.draw(st.one_of(BYTES, *(mutations(raw) for raw in (PACKETS[1], CONTROLS[0]))))
    found = parse_value(b"\0" + number.to_bytes(4, "big") + body)
    assert isinstance(found, Packet | Control | Outcome)


@given(st.data(), st.sampled_from(GENUINE))
def test_whatever_a_parser_accepts_is_the_one_encoding_of_it(
    data: st.DataObject, case: tuple[Parser, bytes]
) -> None:
    parser, genuine = case
    mutated = data.draw(mutations(genuine))
    match parser(mutated):
        case Packet() as packet:
            assert packet.raw == mutated
            assert packet.clear + packet.raw[len(packet.clear) :] == mutated
        case Control() as control:
            assert control.raw == mutated
        case UnifiedRecord() as record:
            assert encode_record(record) == mutated
        case (Block() as block, bytes() as certificate):
            assert encode_certified(block, certificate) == mutated
        case found:
            assert found is None or isinstance(found, Outcome)


@given(st.data(), st.integers(0, 2))
def test_a_mutated_packet_is_refused_or_is_the_same_packet(data: st.DataObject, index: int) -> None:
    mutated = data.draw(mutations(PACKETS[index]))
    packet = parse_packet(mutated)
    if isinstance(packet, Packet) and mutated != PACKETS[index]:
        assert not verify(SITE_KEYS[index], packet.signature, packet.signed)


@pytest.mark.parametrize("index", range(3))
def test_no_bit_of_a_packet_can_be_flipped(index: int) -> None:
    genuine = PACKETS[index]
    for bit in range(0, len(genuine) * 8, 5):
        flipped = bytearray(genuine)
        flipped[bit // 8] ^= 1 << bit % 8
        packet = parse_packet(bytes(flipped))
        assert isinstance(packet, Outcome) or not verify(SITE_KEYS[index], packet.signature, packet.signed)


@given(st.data(), st.sampled_from(CONTROLS))
def test_a_mutated_control_record_is_refused_or_is_the_same(data: st.DataObject, genuine: bytes) -> None:
    mutated = data.draw(mutations(genuine))
    control = parse_control(mutated)
    if isinstance(control, Control) and mutated != genuine:
        assert not is_issued(GENESIS.registrars[0], control)


@given(st.data())
def test_a_mutated_certified_block_extends_nothing(data: st.DataObject) -> None:
    mutated = data.draw(mutations(CERTIFIED[0]))
    state = ChainState(GENESIS)
    found = extend(state, mutated)
    if isinstance(found, BlockProblem):
        assert state.head == ChainState(GENESIS).head
        assert state.tables == ChainState(GENESIS).tables
    else:
        assert found.block.encoded == CERTIFIED[0][: len(found.block.encoded)]


def array_positions(raw: bytes, body: bytes) -> list[bytes]:
    """Return encodings of ``raw`` whose array (``body`` follows its count) announces other counts."""
    at = raw.index(body) - 1
    counts = [*map(varint, EXTREMES), *(varint(-1) + varint(size) for size in EXTREMES), varint(1, 1)]
    return [raw[:at] + count + raw[at + 1 :] for count in counts if count != raw[at : at + 1]]


def test_forged_array_counts_are_refused() -> None:
    """Huge, negative with a byte count, and over-long counts of recipients, signatures and values."""
    packet, control = parse_packet(PACKETS[1]), parse_control(CONTROLS[0])
    assert isinstance(packet, Packet)
    assert isinstance(control, Control)
    for forged in array_positions(PACKETS[1], packet.recipients[0].key):
        assert parse_packet(forged) in (Outcome.MALFORMED, Outcome.OUT_OF_RANGE)
    for forged in array_positions(CONTROLS[0], b"".join(control.signatures[0])):
        assert parse_control(forged) in (Outcome.MALFORMED, Outcome.OUT_OF_RANGE)
    for forged in array_positions(RECORDS[0], b"\x26LOCAL:TRAFFIC_SPEED"):
        assert decode_record(forged) is None


def test_an_array_split_into_two_blocks_is_refused() -> None:
    """Avro reads it as the same array, which would give one packet two encodings."""
    packet = parse_packet(PACKETS[1])
    assert isinstance(packet, Packet)
    first = packet.recipients[0]
    item = first.key + bytes_value(first.sealed_key)
    at = len(packet.clear)
    tail = PACKETS[1][at + 1 + len(item) :]
    assert PACKETS[1] == packet.clear + b"\x02" + item + tail
    fields = avro.decode(schema("Packet"), PACKETS[1])
    assert fields is not None
    both = avro.encode(schema("Packet"), fields | {"recipients": fields["recipients"] * 2})
    split = packet.clear + b"\x02" + item + b"\x02" + item + tail
    assert both == packet.clear + b"\x04" + item + item + tail
    assert parse_packet(split) is Outcome.MALFORMED


def test_an_over_long_number_is_refused_wherever_it_stands() -> None:
    assert isinstance(parse_packet(PACKETS[1]), Packet)
    assert parse_packet(b"\x82\0" + PACKETS[1][1:]) is Outcome.MALFORMED
    country = PACKETS[1].index(b"\x04US")
    overlong = PACKETS[1][:country] + b"\x84\0US" + PACKETS[1][country + 3 :]
    assert parse_packet(overlong) is Outcome.MALFORMED


@pytest.mark.parametrize("described", ALL_SCHEMAS, ids=lambda described: str(described.name))
@pytest.mark.parametrize("count", [2**24, 2**40, 2**62, 2**63 - 1])
def test_a_forged_count_costs_no_more_than_the_bytes_behind_it(described: Schema, count: int) -> None:
    """Every prefix of zeros, then the count: one of them hits each array of the schema."""
    before = time.process_time()
    for prefix in range(0, 300, 7):
        avro.decode(described, bytes(prefix) + varint(count) + bytes(64))
        avro.decode(described, bytes(prefix) + varint(-count) + varint(1) + bytes(64))
    assert (time.process_time() - before) / 86 < 0.05
