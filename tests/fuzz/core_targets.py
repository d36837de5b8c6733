"""Targets for what sites, registrars and nodes send: packets, control records, blocks, votes, genesis files, codes."""

import tempfile
from hashlib import sha256
from pathlib import Path

from pipeline.adapters.block_container import read_container
from pipeline.core import avro
from pipeline.core.admission import (
    CONTROL_SCHEMA,
    PACKET_SCHEMA,
    TICK_VALUE,
    is_issued,
    is_signed,
    parse_value,
)
from pipeline.core.block import (
    Kind,
    encode_certified,
    encode_header,
    leaf_bytes,
    parse_certified,
    parse_header,
    parse_leaf,
)
from pipeline.core.control import Control, parse_control, possession_message
from pipeline.core.damage import locate_damage
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.genesis import parse_genesis
from pipeline.core.keys import PublicKey
from pipeline.core.merkle import Frontier
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.policy_file import policy_text
from pipeline.core.record import decode_record, encode_record
from pipeline.core.replica import Extended, extend
from pipeline.core.sealing import Suite
from pipeline.core.signing import verify
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from pipeline.core.tracing import TracingCode, parse_tracing_code
from pipeline.services.access import read_request
from pipeline.services.accounting.votes import genuine_lines, parse_vote
from schemas import schema
from tests.fuzz.material import CACHE, material
from tests.fuzz.target import Bytes, Target, text
from tests.support.access import request_of
from tests.support.world import packet_value

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def site_keys() -> dict[bytes, PublicKey]:
    """Return the sites' keys by fingerprint."""
    state = material().world.state()
    for certified in material().certified:
        assert isinstance(extend(state, certified), Extended)
    return {site.key.fingerprint: site.key for site in state.tables.sites.values()}


def packet(data: bytes) -> bool:
    """The fast reader agrees with the general one, and no changed packet is signed by a site."""
    general = avro.decode(PACKET_SCHEMA, data)
    found = parse_packet(data)
    if not isinstance(found, Packet):
        return False
    assert general is not None
    assert avro.encode(PACKET_SCHEMA, general) == data == found.raw
    assert [general[name] for name in ("sequence", "digest", "encrypted_kpi_data", "suite", "site_id")] == [
        *(found.sequence, found.digest, found.encrypted, int(found.suite), found.site.site_id)
    ]
    assert found.clear + data[len(found.clear) :] == data
    key = site_keys_cached().get(found.site_key)
    if key is not None and is_signed(key, found):
        assert data in material().payloads(Kind.PACKET), "a signature holds for a packet that no site made"
    return True


_SITE_KEYS: dict[bytes, PublicKey] = {}


def site_keys_cached() -> dict[bytes, PublicKey]:
    """Return the sites' keys, found once."""
    if not _SITE_KEYS:
        _SITE_KEYS.update(site_keys())
    return _SITE_KEYS


def control(data: bytes) -> bool:
    """No changed control record is issued by the registrar."""
    found = parse_control(data)
    if not isinstance(found, Control):
        return False
    general = avro.decode(CONTROL_SCHEMA, data)
    assert general is not None
    assert found.raw == data
    assert avro.encode(CONTROL_SCHEMA, general | {"signatures": []})[:-1] == found.clear
    if is_issued(material().world.registrar.public, found):
        assert data in material().payloads(Kind.CONTROL), "the registrar never signed this"
    return True


def value(data: bytes) -> bool:
    """A value of the chain log is a packet, a control record, a tick, or refused."""
    found = parse_value(data)
    if isinstance(found, Packet | Control):
        assert data[avro.FRAME_BYTES :] == found.raw
        return True
    assert (found is Outcome.TICK) == (data == TICK_VALUE)
    return found is Outcome.TICK


def record(data: bytes) -> bool:
    """A unified KPI record has one encoding."""
    found = decode_record(data)
    assert found is None or encode_record(found) == data
    return found is not None


def block(data: bytes) -> bool:
    """Only the certified block extends the chain; whatever does not, its damage is located within its bytes."""
    parsed = parse_certified(data)
    if parsed is not None:
        assert encode_certified(*parsed) == data
        assert parse_header(parsed[0].header_bytes) == parsed[0].header
    state, genuine = material().world.state(), material().history.chain.blocks[0].block.encoded
    damage = locate_damage(state, data)
    if damage is not None:
        assert 0 <= damage.start <= damage.end <= len(data)
    found = extend(state, data)
    assert isinstance(found, Extended) == (damage is None)
    assert not isinstance(found, Extended) or found.block.encoded == genuine
    return isinstance(found, Extended)


def header(data: bytes) -> bool:
    """A header has one encoding."""
    found = parse_header(data)
    assert found is None or encode_header(found) == data
    return found is not None


def leaf(data: bytes) -> bool:
    """A leaf has one reading."""
    found = parse_leaf(data)
    assert found is None or leaf_bytes(*found) == data
    return found is not None


def vote(data: bytes) -> bool:
    """No changed vote carries a signature of a node for another tree."""
    genesis = material().world.genesis
    found = parse_vote(genesis.chain, data)
    if found is None:
        return False
    fields = avro.unframe(schema("Cosignature"), data)
    assert fields is not None
    assert avro.frame(schema("Cosignature"), avro.encode(schema("Cosignature"), fields)) == data
    if genuine_lines(genesis.origin, genesis.policy, found):
        checkpoint = material().checkpoints.get(found.tree_size)
        assert checkpoint is not None
        assert checkpoint.root == found.root, "a node never signed this tree"
    return True


def genesis(data: bytes) -> bool:
    """A genesis file is refused by name, or read; its policy is one that outsiders can read."""
    try:
        found = parse_genesis(data)
    except ConfigError:
        return False
    assert found.raw == data
    assert found.chain == sha256(data).digest()
    assert isinstance(parse_policy(policy_text(found).encode()), TlogPolicy)
    return True


def tracing_code(data: bytes) -> bool:
    """A tracing code is read back, and is what plain arithmetic says."""
    typed = text(data)
    found = parse_tracing_code(typed) if typed is not None else None
    if found is None or typed is None:
        return False
    shown = str(found)
    assert shown == typed.strip().upper()
    chain, height, entry, _ = shown.split("-")
    numbers = [
        sum(_ALPHABET.index(c) * 32**i for i, c in enumerate(reversed(part)))
        for part in (chain, height, entry)
    ]
    assert numbers == [int.from_bytes(found.chain, "big"), found.height, found.entry]
    return True


def frontier(data: bytes) -> bool:
    """A stored frontier has one encoding."""
    try:
        found = Frontier.decode(data)
    except IntegrityError:
        return False
    assert found.encode() == data
    return True


def container(data: bytes) -> bool:
    """A container file is refused by name, or gives blocks, of which only the genuine ones extend the chain."""
    state, extended = material().world.state(), 0
    with tempfile.NamedTemporaryFile(dir=CACHE) as file:
        file.write(data)
        file.flush()
        try:
            for certified in read_container(Path(file.name)):
                extended += isinstance(extend(state, certified), Extended)
        except ConfigError:
            return False
    assert extended <= len(material().certified)
    return extended == len(material().certified)


def access_request(data: bytes) -> bool:
    """A request is refused by name, or is for this chain and signed by the key that it names."""
    try:
        found = read_request(data, material().world.genesis)
    except ConfigError:
        return False
    assert found.chain == material().world.genesis.chain
    assert verify(
        found.key, found.possession, possession_message(found.chain, found.site, found.key.fingerprint)
    )
    return True


def _requests() -> Bytes:
    genesis = material().world.genesis
    sites = [material().world.site(number, suite) for number, suite in enumerate(Suite, 1)]
    return [request_of(genesis, site) for site in sites]


def _codes() -> Bytes:
    return [
        str(TracingCode(material().world.genesis.chain[:5], h, e)).encode()
        for h, e in ((1, 0), (77, 5), (2**40, 9))
    ]


def _records() -> Bytes:
    site = material().world.site(1)
    return [site.record(7), site.record(-(2**40))]


TARGETS = (
    Target("packet", packet, lambda: material().payloads(Kind.PACKET)),
    Target("control", control, lambda: material().payloads(Kind.CONTROL)),
    Target("value", value, lambda: [TICK_VALUE, *map(packet_value, material().payloads(Kind.PACKET)[:2])]),
    Target("record", record, _records),
    Target("block", block, lambda: material().certified[:1]),
    Target("header", header, lambda: [d.block.header_bytes for d in material().history.chain.blocks]),
    Target("leaf", leaf, lambda: material().leaves),
    Target("vote", vote, lambda: material().votes),
    Target("genesis", genesis, lambda: [material().world.genesis.raw]),
    Target("tracing-code", tracing_code, _codes),
    Target(
        "frontier", frontier, lambda: [Frontier.EMPTY.extend([bytes(32)] * n).encode() for n in (0, 1, 7)]
    ),
    Target("access-request", access_request, _requests),
    Target("container", container, lambda: [material().container]),
)
