"""Packets: every field has a range, and sealing refuses what would not be accepted."""

from typing import Any

import pytest

from pipeline.core import avro
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.outcome import Outcome
from pipeline.core.packet import (
    MAX_PACKET_BYTES,
    PacketDraft,
    parse_packet,
    seal_packet,
)
from pipeline.core.sealing import (
    Suite,
)
from tests.support.forge import CONTENT_KEY, PACKET, SEED, parsed
from tests.support.world import NOW_MS, World, secret


def test_a_packet_that_would_be_too_large_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="fewer records"):
        World().site(1).packet(records=[bytes(MAX_PACKET_BYTES)])


@pytest.mark.parametrize("records", [[], [b""] * 4097])
def test_a_packet_of_no_or_too_many_records_is_not_sealed(records: list[bytes]) -> None:
    site = World().site(1)
    draft = PacketDraft(site.chain, site.name, "m", 1, bytes(32), NOW_MS, NOW_MS, Suite.LIGHT)
    reader = site.platform_key.public
    with pytest.raises(ValueError, match="1 to 4096 records"):
        seal_packet(draft, records, [reader], site.signer, seed=SEED, content_key=CONTENT_KEY)


def test_a_short_seed_or_content_key_is_not_used() -> None:
    site = World().site(1)
    draft = PacketDraft(site.chain, site.name, "m", 1, bytes(32), NOW_MS, NOW_MS, Suite.LIGHT)
    reader = site.platform_key.public
    for seed, key in ((SEED[1:], CONTENT_KEY), (SEED, CONTENT_KEY[1:])):
        with pytest.raises(ValueError, match="32 bytes"):
            seal_packet(draft, [b"r"], [reader], site.signer, seed=seed, content_key=key)


PACKET_RANGES: dict[str, list[Any]] = {
    "version": [0, 2, -1, 2**63 - 1, -(2**63)],
    "country": ["", "us", "USA", "U1", "ÄÖ", "\0\0"],
    "city": ["", "a b", "x" * 65, "café", "a\nb", "a\0b", "\x7f", "\u202e"],
    "module_id": ["", "a b", "x" * 65, "é", "\0"],
    "sequence": [0, -1, -(2**63)],
    "collected_from": [-1, NOW_MS + 1, MAX_TIME_MS + 1, -(2**63), 2**63 - 1],
    "collected_to": [-1, NOW_MS - 1, MAX_TIME_MS + 1, 2**63 - 1],
    "record_count": [0, -1, 4097, 2**63 - 1],
    "suite": [0, 4, -1, 2**63 - 1, -(2**63)],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in PACKET_RANGES.items() for v in values])
def test_a_packet_field_out_of_range_is_refused(field: str, value: Any) -> None:
    fields = avro.decode(PACKET, World().site(1).packet([1]))
    assert fields is not None
    assert parse_packet(avro.encode(PACKET, fields | {field: value})) is Outcome.OUT_OF_RANGE


@pytest.mark.parametrize("count", [0, 2, 9])
def test_a_packet_with_no_repeated_or_too_many_recipients_is_refused(count: int) -> None:
    fields = avro.decode(PACKET, World().site(1).packet([1]))
    assert fields is not None
    recipients = fields["recipients"] * count
    if count == 9:
        recipients = [{"key": secret(f"{i}"), "sealed_key": b""} for i in range(9)]
    assert parse_packet(avro.encode(PACKET, fields | {"recipients": recipients})) is Outcome.OUT_OF_RANGE


def test_the_largest_sequence_and_time_are_in_range() -> None:
    fields = avro.decode(PACKET, World().site(1).packet([1]))
    assert fields is not None
    extreme = {"sequence": 2**63 - 1, "collected_from": 0, "collected_to": MAX_TIME_MS, "record_count": 4096}
    assert parsed(avro.encode(PACKET, fields | extreme)).sequence == 2**63 - 1


def test_a_packet_over_60_kb_is_oversized_whatever_it_holds() -> None:
    assert parse_packet(bytes(MAX_PACKET_BYTES + 1)) is Outcome.OVERSIZED
    assert parse_packet(bytes(MAX_PACKET_BYTES)) is Outcome.MALFORMED
