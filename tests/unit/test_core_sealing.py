"""Sealing: who can open a packet, what is bound to it, and what a wrong one is called."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.keys import Algorithm
from pipeline.core.merkle import is_included, node_hash
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.packet import (
    Opened,
    OpenProblem,
    Packet,
    PacketDraft,
    leaf_salt,
    open_packet,
    record_context,
    record_leaf,
    seal_packet,
)
from pipeline.core.sealing import (
    PRIVATE_BYTES,
    SEALING_ALGORITHM,
    SealingKey,
    Suite,
    decrypt_content,
    seal_key,
    unseal_key,
)
from pipeline.core.signing import verify
from tests.support.forge import CONTENT_KEY, PACKET, SEED, Forge, parsed, resigned
from tests.support.world import NOW_MS, World, secret

SUITES = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: str(suite.name))
ENCAPSULATED = {Algorithm.X25519: 32, Algorithm.ECDH_P256: 65, Algorithm.XWING: 1120}


@SUITES
def test_a_sealed_packet_opens_to_its_records(suite: Suite) -> None:
    site = World().site(1, suite)
    opened = open_packet(parsed(site.packet([5, 6, 7])), site.platform_key)
    assert isinstance(opened, Opened)
    assert opened.records == tuple(site.record(value) for value in (5, 6, 7))


@SUITES
def test_a_sealed_packet_carries_a_good_signature(suite: Suite) -> None:
    site = World().site(1, suite)
    packet = parsed(site.packet([5]))
    assert verify(site.signer.public, packet.signature, packet.signed)


@SUITES
def test_sealing_the_same_records_twice_gives_different_bytes(suite: Suite) -> None:
    site = World().site(1, suite)
    first, second = (parsed(site.packet([5], advance=False)) for _ in range(2))
    assert first.raw != second.raw
    assert first.recipients != second.recipients


@SUITES
def test_only_the_addressed_key_opens(suite: Suite) -> None:
    site = World().site(1, suite)
    algorithm = SEALING_ALGORITHM[suite]
    other = SealingKey(algorithm, secret("other", PRIVATE_BYTES[algorithm]))
    packet = parsed(site.packet([5]))
    assert open_packet(packet, other) is OpenProblem.NO_KEY
    renamed = packet._replace(recipients=(packet.recipients[0]._replace(key=other.public.fingerprint),))
    assert open_packet(renamed, other) is OpenProblem.DOES_NOT_OPEN


@SUITES
def test_every_addressed_reader_opens(suite: Suite) -> None:
    site = World().site(1, suite)
    algorithm = SEALING_ALGORITHM[suite]
    readers = [SealingKey(algorithm, secret(f"r{i}", PRIVATE_BYTES[algorithm])) for i in range(3)]
    draft = PacketDraft(site.chain, site.name, "m", 1, bytes(32), NOW_MS, NOW_MS, suite)
    records, public = [site.record(1)], [reader.public for reader in readers]
    packet = parsed(seal_packet(draft, records, public, site.signer, seed=SEED, content_key=CONTENT_KEY))
    assert [open_packet(packet, reader) for reader in readers] == [Opened(SEED, tuple(records))] * 3


CLEAR_CHANGES: dict[str, Any] = {
    "chain": secret("chain"),
    "country": "CA",
    "city": "unlocode:CAYXE",
    "site_id": secret("id", 16),
    "site_key": secret("key"),
    "module_id": "module-2",
    "sequence": 2,
    "previous_packet": secret("previous"),
    "collected_from": NOW_MS - 1,
    "collected_to": MAX_TIME_MS,
    "record_count": 2,
    "digest": secret("digest"),
}


@SUITES
@pytest.mark.parametrize("field", CLEAR_CHANGES)
def test_a_packet_with_another_clear_field_does_not_open_whoever_signs_it(suite: Suite, field: str) -> None:
    world = World()
    site, thief = world.site(1, suite), world.site(2, suite)
    stolen = resigned(thief, site.packet([5]), **{field: CLEAR_CHANGES[field]})
    assert open_packet(stolen, site.platform_key) is OpenProblem.DOES_NOT_OPEN


def test_a_packet_under_another_suite_does_not_open() -> None:
    site = World().site(1, Suite.LIGHT)
    stolen = resigned(site, site.packet([5]), suite=int(Suite.XWING))
    assert open_packet(stolen, site.platform_key) is OpenProblem.DOES_NOT_OPEN


def test_the_table_of_clear_changes_names_every_field_that_is_bound() -> None:
    names = [field["name"] for field in PACKET.parsed["fields"]]
    assert set(names[: names.index("digest") + 1]) == {"version", "suite", *CLEAR_CHANGES}


@pytest.fixture(scope="module")
def forge() -> Forge:
    return Forge(World().site(1))


def opened(forge: Forge, packet: Packet) -> Opened | OpenProblem:
    """Open a forged packet as the platform does."""
    return open_packet(packet, forge.site.platform_key)


def test_the_forge_makes_packets_that_open_when_nothing_is_changed(forge: Forge) -> None:
    assert isinstance(opened(forge, forge.packet(lambda plain: plain)), Opened)


BAD_PADDING: dict[str, Callable[[bytes], bytes]] = {
    "a byte that is not zero": lambda plain: plain[:-1] + b"\1",
    "a whole block too much": lambda plain: plain + bytes(256),
    "a byte too few": lambda plain: plain[:-1],
    "no padding": lambda plain: plain.rstrip(b"\0") + b"\0",
    "nothing": lambda plain: b"",
    "seed alone": lambda plain: plain[:32],
    "part of a seed": lambda plain: plain[:9],
    "count and no item": lambda plain: SEED + b"\x02",
    "item cut off": lambda plain: plain[:60],
    "split array": lambda plain: SEED + (b"\x02\0" * 2 + bytes(256))[: 256 - 32],
    "negative block": lambda plain: (SEED + b"\x01\x02\0\0").ljust(256, b"\0"),
    "huge count": lambda plain: (SEED + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01").ljust(256, b"\0"),
    "length of 2^62": lambda plain: (SEED + b"\x02" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f").ljust(
        256, b"\0"
    ),
    "over-long count": lambda plain: (SEED + b"\x82\0" + b"\0\0").ljust(256, b"\0"),
    "negative length": lambda plain: (SEED + b"\x02\x01").ljust(256, b"\0"),
    "negative length at the end": lambda plain: SEED + b"\x02\x03",
    "length past the end": lambda plain: SEED + b"\x02\xed\xa0\x80",
}


@pytest.mark.parametrize("case", BAD_PADDING)
def test_a_plaintext_of_another_form_is_bad_padding(forge: Forge, case: str) -> None:
    assert opened(forge, forge.packet(BAD_PADDING[case])) is OpenProblem.BAD_PADDING


@given(st.binary(max_size=300), st.booleans())
def test_no_plaintext_raises(data: bytes, keep_seed: bool) -> None:
    """An enrolled site can seal any bytes; the platform must go on."""
    forge = Forge(World().site(1))
    found = opened(forge, forge.packet(lambda plain: SEED + data if keep_seed else data))
    assert isinstance(found, OpenProblem)


def test_another_count_than_signed_is_a_wrong_count(forge: Forge) -> None:
    assert opened(forge, forge.packet(lambda plain: plain, count=2)) is OpenProblem.WRONG_COUNT


def test_other_content_than_signed_is_a_wrong_digest(forge: Forge) -> None:
    changed = forge.packet(lambda plain: plain[:40] + bytes([plain[40] ^ 1]) + plain[41:])
    assert opened(forge, changed) is OpenProblem.WRONG_DIGEST


def test_another_seed_than_hashed_is_a_wrong_digest(forge: Forge) -> None:
    assert opened(forge, forge.packet(lambda plain: secret("x") + plain[32:])) is OpenProblem.WRONG_DIGEST


def test_another_digest_than_that_of_the_content_is_a_wrong_digest(forge: Forge) -> None:
    changed = forge.packet(lambda plain: plain, digest=secret("digest"))
    assert opened(forge, changed) is OpenProblem.WRONG_DIGEST


def test_a_changed_ciphertext_does_not_open() -> None:
    site = World().site(1)
    packet = parsed(site.packet([5]))
    for at in (0, len(packet.encrypted) // 2, len(packet.encrypted) - 1):
        changed = bytearray(packet.encrypted)
        changed[at] ^= 1
        found = open_packet(packet._replace(encrypted=bytes(changed)), site.platform_key)
        assert found is OpenProblem.DOES_NOT_OPEN


@SUITES
def test_ciphertexts_shorter_than_a_tag_do_not_open(suite: Suite) -> None:
    for size in (0, 1, 15, 16):
        assert decrypt_content(suite, CONTENT_KEY, bytes(size), b"") is None


@SUITES
def test_no_sealed_key_raises(suite: Suite) -> None:
    """Truncated, extended and all-zero encapsulations, small-order and off-curve points among them."""
    algorithm = SEALING_ALGORITHM[suite]
    key = SealingKey(algorithm, secret("k", PRIVATE_BYTES[algorithm]))
    good, cut = seal_key(key.public, CONTENT_KEY, b"info"), ENCAPSULATED[algorithm]
    assert unseal_key(key, good, b"info") == CONTENT_KEY
    bad = [
        *(good[:size] for size in (0, 1, 32, cut - 1, cut, cut + 1, cut + 15, len(good) - 1)),
        good + b"\0",
        bytes(len(good)),
        b"\xff" * len(good),
        good[: cut - 32] + bytes(32) + good[cut:],
        good[: cut - 32] + b"\1" + bytes(31) + good[cut:],
        b"\4" + good[1:],
        b"\2" + good[1:33] + good[cut:],
    ]
    assert [unseal_key(key, sealed, b"info") for sealed in bad if sealed != good] == [None] * sum(
        sealed != good for sealed in bad
    )
    assert unseal_key(key, good, b"other") is None


def test_a_sealed_content_key_of_another_size_does_not_open() -> None:
    key = SealingKey(Algorithm.X25519, secret("k"))
    assert unseal_key(key, seal_key(key.public, bytes(31), b""), b"") is None


@given(st.lists(st.binary(max_size=700), min_size=1, max_size=12))
def test_the_plaintext_is_a_multiple_of_256_bytes(records: list[bytes]) -> None:
    site = World().site(1)
    packet = parsed(site.packet(records=records))
    assert (len(packet.encrypted) - 16) % 256 == 0
    found = open_packet(packet, site.platform_key)
    assert isinstance(found, Opened)
    assert list(found.records) == records


def test_one_record_is_disclosed_with_salt_and_path_and_without_its_neighbours() -> None:
    site = World().site(1)
    packet = parsed(site.packet([1, 2, 3, 4]))
    found = open_packet(packet, site.platform_key)
    assert isinstance(found, Opened)
    context = record_context(packet.chain, packet.site.site_id, packet.site_key, packet.sequence, 4)
    leaves = [record_leaf(context, i, leaf_salt(found.seed, i), r) for i, r in enumerate(found.records)]
    path = [leaves[3], node_hash(leaves[0], leaves[1])]
    disclosed = record_leaf(context, 2, leaf_salt(found.seed, 2), found.records[2])
    assert is_included(disclosed, 2, packet.record_count, path, packet.digest)
    other = record_leaf(context, 2, leaf_salt(found.seed, 3), found.records[2])
    assert not is_included(other, 2, packet.record_count, path, packet.digest)


def test_equal_records_have_different_leaves() -> None:
    site = World().site(1)
    context = record_context(site.chain, site.name.site_id, bytes(32), 1, 2)
    assert record_leaf(context, 0, leaf_salt(SEED, 0), b"r") != record_leaf(
        context, 1, leaf_salt(SEED, 1), b"r"
    )
    assert leaf_salt(SEED, 0) != leaf_salt(SEED, 1)


@pytest.mark.parametrize("field", range(5))
def test_the_digest_is_bound_to_chain_site_key_sequence_and_count(field: int) -> None:
    values: list[Any] = [bytes(32), bytes(16), bytes(32), 1, 1]
    before = record_context(*values)
    values[field] = 2 if isinstance(values[field], int) else b"\1" * len(values[field])
    assert record_context(*values) != before
