"""Encodings that Avro readers take and that mean something else elsewhere, or cost more than they weigh."""

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from pipeline.core import avro
from pipeline.core.names import MAX_TIME_MS
from schemas import schema
from tests.security.attack import Attack, Run
from tests.security.ground import Ground
from tests.security.registering import registered_as, registration_of
from tests.security.test_packets import changed, fresh, straight_to_the_nodes, through_the_front_door
from tests.support.forge import parsed
from tests.support.world import packet_value

pytestmark = [pytest.mark.stack, pytest.mark.security]
REGISTRATION: Final = schema("SiteRegistration")
COUNTRY_AT: Final = 33  # version takes one byte, the chain 32


def varint(value: int) -> bytes:
    """Return the zigzag encoding of an integer of any size."""
    rest, found = (value << 1) ^ (value >> 63 if value < 0 else 0), bytearray()
    while rest >= 128:
        found.append(rest & 127 | 128)
        rest >>= 7
    return bytes((*found, rest))


def longer(varint_bytes: bytes) -> bytes:
    """Return the same integer in one byte more than it needs."""
    return varint_bytes[:-1] + bytes((varint_bytes[-1] | 128, 0))


def with_version(replacement: bytes) -> Callable[[Ground], bytes]:
    return lambda ground: packet_value(replacement + fresh(ground)[1:])


def longer_length_prefix(ground: Ground) -> bytes:
    raw = fresh(ground)
    at = COUNTRY_AT
    return packet_value(raw[:at] + longer(raw[at : at + 1]) + raw[at + 1 :])


def announced(count: int, *more: bytes) -> Callable[[Ground], bytes]:
    """A packet whose recipients are announced by a count and never come."""
    return lambda ground: packet_value(parsed(fresh(ground)).clear + varint(count) + b"".join(more))


def recipients_in_two_blocks(ground: Ground) -> bytes:
    """One array, twice begun: the same value, spelt otherwise."""
    packet = parsed(fresh(ground))
    (reader,) = packet.recipients
    item = reader.key + varint(len(reader.sealed_key)) + reader.sealed_key
    start = len(packet.clear)
    assert packet.raw[start : start + 1] == b"\x02"
    tail = packet.raw[start + 1 + len(item) :]
    return packet_value(packet.clear + varint(-1) + varint(len(item)) + item + tail)


PACKETS: Final = (
    ("bytes after the end", lambda ground: packet_value(fresh(ground) + b"\0"), "malformed"),
    ("integer in more bytes than it needs", with_version(longer(varint(1))), "malformed"),
    ("length prefix in more bytes than it needs", longer_length_prefix, "malformed"),
    ("2^60 where 1 is meant", with_version(varint(2**60)), "out_of_range"),
    ("integer of ten bytes", with_version(b"\xff" * 9 + b"\x7f"), "malformed"),
    ("integer that never ends", with_version(b"\xff" * 2000), "malformed"),
    ("array of two thousand million items", announced(2**31), "malformed"),
    ("array of 16 million items in five bytes", announced(2**24), "malformed"),
    ("array of -2^63 items", announced(-(2**63), varint(1)), "malformed"),
    ("array in a block with its size", recipients_in_two_blocks, "malformed"),
    ("half a packet", lambda ground: packet_value(fresh(ground)[:200]), "malformed"),
    ("year 10000", lambda ground: changed(ground, collected_to=MAX_TIME_MS + 1), "out_of_range"),
)


def registration(spoil: Callable[[bytes], bytes], outcome: str) -> Run:
    """A record on the sites topic, with a stolen certificate of a node."""

    async def run(ground: Ground) -> str:
        value = spoil(registration_of(ground, ground.enrolments["victim"].raw, 1))
        return await registered_as(ground, value, outcome)

    return run


def with_boolean_two(value: bytes) -> bytes:
    fields = avro.unframe(REGISTRATION, value)
    assert fields is not None
    other = avro.frame(REGISTRATION, avro.encode(REGISTRATION, fields | {"active": False}))
    (at,) = (at for at, (one, two) in enumerate(zip(value, other, strict=True)) if one != two)
    return value[:at] + b"\2" + value[at + 1 :]


ATTACKS: Final = [
    *(Attack(name, "DST-2", expected, through_the_front_door(make)) for name, make, expected in PACKETS),
    *(
        Attack(f"{name}, to the nodes", "DST-2", expected, straight_to_the_nodes(make))
        for name, make, expected in PACKETS
    ),
    Attack("boolean 2 in a registration", "DST-8", "malformed", registration(with_boolean_two, "malformed")),
    Attack(
        "bytes after a registration",
        "DST-8",
        "malformed",
        registration(lambda value: value + b"\0", "malformed"),
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_an_encoding_that_is_not_the_one(
    attack: Attack, see: Callable[[Attack], Awaitable[str]]
) -> None:
    assert await see(attack) == attack.expected
