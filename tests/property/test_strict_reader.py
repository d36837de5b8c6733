"""The strict reader gives what the general decoder gives, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK
from pipeline.core.strict_reader import read_certified, read_packet
from schemas import schema
from tests.support.chain import Chain

PACKET = schema("Packet")


def build() -> tuple[list[bytes], list[bytes]]:
    chain = Chain()
    sites = [chain.world.site(i) for i in (1, 2)]
    chain.enrol(*sites)
    packets = [sites[0].packet([1]), sites[0].packet([1] * 40), sites[1].packet([2])]
    chain.packets(*packets)
    return packets, chain.certified


PACKETS, BLOCKS = build()


def packet_value(data: bytes) -> object:
    """Return the value that the strict reader sees in a packet, in the form of the general decoder's."""
    parts = read_packet(data)
    if parts is None:
        return None
    recipients = [{"key": key, "sealed_key": sealed} for key, sealed in parts.recipients]
    value = parts.head._asdict() | parts._asdict() | {"recipients": recipients, "signature": data[-64:]}
    del value["head"], value["size"]
    return value


def certified_value(data: bytes) -> object:
    """Return the value that the strict reader sees in a certified block, in the form of the general decoder's."""
    parts = read_certified(data)
    if parts is None:
        return None
    assert data[parts.block_end :].endswith(parts.certificate)
    entries = [
        {"kind": kind, "offset": offset, "time": time, "payload": payload}
        for kind, offset, time, payload in parts.entries
    ]
    assert avro.encode(schema("Header"), parts.header) == data[: parts.header_end]
    return {"block": {"header": parts.header, "entries": entries}, "certificate": parts.certificate}


def changed(good: bytes) -> st.SearchStrategy[bytes]:
    """Bytes near good ones: some replaced, left out or put in at a place."""
    return st.builds(
        lambda at, size, new: good[:at] + new + good[at + size :],
        st.integers(0, len(good)),
        st.integers(0, 12),
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from([b"\x80\x00", b"\x82\x00", b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x7f"]),
        ),
    )


@pytest.mark.parametrize("data", PACKETS)
def test_our_packets_are_read(data: bytes) -> None:
    assert packet_value(data) == avro.decode(PACKET, data)


@pytest.mark.parametrize("data", BLOCKS)
def test_our_blocks_are_read(data: bytes) -> None:
    assert certified_value(data) == avro.decode(CERTIFIED_BLOCK, data)


@given(data=st.sampled_from(PACKETS).flatmap(changed))
def test_a_changed_packet_is_read_as_the_general_decoder_does_or_not_at_all(data: bytes) -> None:
    found = packet_value(data)
    assert found is None or found == avro.decode(PACKET, data)


@given(data=st.sampled_from(BLOCKS).flatmap(changed))
def test_a_changed_block_is_read_as_the_general_decoder_does_or_not_at_all(data: bytes) -> None:
    found = certified_value(data)
    assert found is None or found == avro.decode(CERTIFIED_BLOCK, data)


@given(data=st.binary(max_size=300))
def test_random_bytes_never_raise(data: bytes) -> None:
    assert read_packet(data) is None or avro.decode(PACKET, data) is not None
    assert read_certified(data) is None or avro.decode(CERTIFIED_BLOCK, data) is not None


def longer_number(data: bytes, at: int) -> bytes:
    """Return the bytes with the one-byte number at a place written in two bytes."""
    return data[:at] + bytes((data[at] | 128, 0)) + data[at + 1 :]


def test_numbers_that_are_longer_than_needed_are_not_read() -> None:
    good = PACKETS[0]
    for place in (0, 33, 36):
        assert good[place] < 128
        assert read_packet(longer_number(good, place)) is None


@pytest.mark.parametrize("cut", [1, 63, 64, 65, 200])
def test_bytes_missing_at_the_end_are_noticed(cut: int) -> None:
    assert read_packet(PACKETS[0][:-cut]) is None
    assert read_certified(BLOCKS[0][:-cut]) is None
