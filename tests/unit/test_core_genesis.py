"""Genesis file and contract: what is pinned, what is refused, and that a refusal is always a settings error."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import avro
from pipeline.core.contract import MAX_BLOCK_BYTES, Contract, SuiteTerm
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis, encode_genesis, parse_genesis
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.packet import MAX_PACKET_BYTES
from pipeline.core.sealing import Suite
from schemas import schema
from tests.support.world import NOW_MS, World, secret

GENESIS = World().genesis
DOCUMENT: dict[str, Any] = json.loads(GENESIS.raw)
PATHS = [
    ("format",), ("url",), ("chain_log",), ("chain_log", "topic"), ("chain_log", "partition"),
    ("chain_log", "incarnation"), ("roots",), ("roots", "threshold"), ("roots", "keys"), ("registrars",),
    ("nodes",), ("quorum",), ("log_key",), ("log_key", "algorithm"), ("log_key", "public"),
    ("rules_version",), ("contract",), *(("contract", name) for name in DOCUMENT["contract"]),
]  # fmt: skip


def changed(path: tuple[str, ...], value: Any) -> bytes:
    """Return the genesis file with another value at a path."""
    document: dict[str, Any] = json.loads(GENESIS.raw)
    *outer, last = path
    inner = document
    for name in outer:
        inner = inner[name]
    inner[last] = value
    return json.dumps(document).encode()


def removed(path: tuple[str, ...]) -> bytes:
    """Return the genesis file without a field."""
    document: dict[str, Any] = json.loads(GENESIS.raw)
    *outer, last = path
    inner = document
    for name in outer:
        inner = inner[name]
    del inner[last]
    return json.dumps(document).encode()


def test_a_genesis_file_is_read_back() -> None:
    again = encode_genesis(
        **{item.name: getattr(GENESIS, item.name) for item in fields(Genesis) if item.name not in ("raw",)}
    )
    assert again == GENESIS.raw
    assert parse_genesis(again) == GENESIS


def test_any_other_byte_of_the_file_makes_another_chain() -> None:
    """White space, too: what is pinned are the bytes."""
    assert parse_genesis(GENESIS.raw + b" ").chain != GENESIS.chain


def test_the_origin_is_the_url_without_scheme_and_the_start_of_the_chain() -> None:
    assert GENESIS.origin == f"bkdms.local/city1/{GENESIS.chain.hex()[:8]}"


WRONG: list[tuple[tuple[str, ...], Any]] = [
    (("format",), "bkdms-genesis/v2"),
    (("rules_version",), 2),
    (("url",), "http://bkdms.local"),
    (("url",), "https://"),
    (("url",), "https:///"),
    (("url",), "https://a b"),
    (("url",), "https://a+b"),
    (("url",), "https://" + "x" * 64),
    (("url",), "https://caf\u00e9"),
    (("url",), 5),
    (("chain_log", "topic"), ""),
    (("chain_log", "topic"), "x" * 250),
    (("chain_log", "topic"), 5),
    (("chain_log", "partition"), -1),
    (("chain_log", "partition"), True),
    (("chain_log", "partition"), 0.0),
    (("chain_log", "incarnation"), 2**63),
    (("roots", "threshold"), 0),
    (("roots", "threshold"), 4),
    (("roots", "threshold"), 1.0),
    (("roots", "keys"), []),
    (("roots", "keys"), [{"algorithm": "ed25519", "public": GENESIS.root_keys[0].raw.hex()}] * 2),
    (("registrars",), []),
    (("nodes",), []),
    (("quorum",), 2.5),
    (("quorum",), 2),
    (("quorum",), 5),
    (("quorum",), "3"),
    (("quorum",), True),
    (("log_key", "algorithm"), "rsa"),
    (("log_key", "algorithm"), "x25519"),
    (("log_key", "public"), "00" * 32),
    (("log_key", "public"), "zz"),
    (("registrars",), [{"algorithm": "x25519", "public": secret("x").hex()}]),
    (("contract", "unknown"), 1),
    (("contract", "version"), 0),
    (("contract", "version"), 2**63),
    (("contract", "suites"), []),
    (("contract", "suites"), [{"suite": "rot13", "expires_ms": 0}]),
    (("contract", "suites"), [{"suite": "light", "expires_ms": 2**63}]),
    (("contract", "suites"), [{"suite": "light", "expires_ms": 0}] * 2),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{'.'.join(p)}={str(v)[:20]}" for p, v in WRONG])
def test_a_wrong_value_is_refused(path: tuple[str, ...], value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^(genesis file|node policy): "):
        parse_genesis(changed(path, value))


@pytest.mark.parametrize("path", [*PATHS], ids=".".join)
def test_a_missing_field_is_refused(path: tuple[str, ...]) -> None:
    if path[0] == "contract" and len(path) == 2 and path[1] != "suites":
        assert parse_genesis(removed(path)).chain != GENESIS.chain
        return
    with pytest.raises(ConfigError, match=path[-1]):
        parse_genesis(removed(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(PATHS), JSON)
def test_any_value_anywhere_is_a_genesis_or_a_settings_error(path: tuple[str, ...], value: Any) -> None:
    try:
        genesis = parse_genesis(changed(path, value))
    except ConfigError:
        return
    assert genesis.contract.hash != b""
    assert len(genesis.origin) < 255


@given(st.binary(max_size=200))
def test_any_bytes_are_a_settings_error(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_genesis(data)


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b'{"a":' * 100_000, GENESIS.raw + b" " * (1 << 20), b"\xff\xfe"]
)
def test_hostile_files_are_settings_errors(raw: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_genesis(raw)


BOUNDS: dict[str, tuple[int, int]] = {
    "version": (1, 2**63 - 1),
    "period_ms": (100, 86_400_000),
    "max_packet": (1024, MAX_PACKET_BYTES),
    "max_entries": (1, 100_000),
    "max_block": (2 * MAX_PACKET_BYTES, MAX_BLOCK_BYTES),
    "max_sequence_jump": (1, 2**62),
    "skew_ms": (0, 86_400_000),
    "max_age_ms": (1, 200 * 365 * 86_400_000),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_term_of_the_contract_has_bounds(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low, high):
        terms: dict[str, Any] = {name: value}
        assert avro.decode(schema("Contract"), Contract(**terms).encode()) is not None
    for value in (low - 1, high + 1):
        terms = {name: value}
        with pytest.raises(ValueError, match=name):
            Contract(**terms)


def test_every_number_of_the_contract_has_bounds() -> None:
    assert set(BOUNDS) == {item.name for item in fields(Contract)} - {"suites"}


@pytest.mark.parametrize("expires", [-1, MAX_TIME_MS + 1])
def test_a_suites_end_has_bounds(expires: int) -> None:
    with pytest.raises(ValueError, match="expires_ms"):
        Contract(suites=(SuiteTerm(Suite.LIGHT, expires),))


def test_a_suite_is_accepted_until_its_end_and_others_not_at_all() -> None:
    contract = Contract(suites=(SuiteTerm(Suite.LIGHT, NOW_MS), SuiteTerm(Suite.XWING)))
    assert contract.accepts(Suite.LIGHT, NOW_MS)
    assert not contract.accepts(Suite.LIGHT, NOW_MS + 1)
    assert contract.accepts(Suite.XWING, MAX_TIME_MS)
    assert not contract.accepts(Suite.P256, 0)


def test_every_term_changes_the_hash() -> None:
    changed_terms: list[dict[str, Any]] = [
        *({name: low} for name, (low, _) in BOUNDS.items() if name != "version"),
        {"version": 2},
        {"suites": (SuiteTerm(Suite.LIGHT),)},
        {"suites": (SuiteTerm(Suite.LIGHT, 1),)},
    ]
    hashes = {Contract(**terms).hash for terms in changed_terms}
    assert len(hashes | {Contract().hash}) == len(changed_terms) + 1
