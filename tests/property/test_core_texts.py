"""Texts from outside, tracing codes and site heads: any of them is read or refused, none raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.genesis import parse_genesis
from pipeline.core.site_head import ReceiptProblem, parse_site_head
from pipeline.core.tracing import TracingCode, parse_tracing_code
from tests.vectors.core_world import FOLDER

GENESIS = parse_genesis(json.loads((FOLDER / "core_genesis.json").read_text())["file"].encode())


@given(st.one_of(st.text(max_size=45), st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ-", max_size=45)))
def test_any_text_is_a_tracing_code_or_none(text: str) -> None:
    code = parse_tracing_code(text)
    if code is not None:
        assert str(code) == text.strip().upper()


@given(st.binary(min_size=5, max_size=5), st.integers(1, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_tracing_code_is_read_back(chain: bytes, height: int, entry: int) -> None:
    code = TracingCode(chain, height, entry)
    assert parse_tracing_code(str(code)) == code
    assert parse_tracing_code(f" {str(code).lower()}\n") == code


@given(st.integers(0, 13), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_one_mistyped_symbol_of_a_tracing_code_is_noticed(at: int, symbol: str) -> None:
    genuine = str(TracingCode(GENESIS.chain[:5], 77, 5))
    typed = genuine[:at] + symbol + genuine[at + 1 :]
    assert (parse_tracing_code(typed) is None) == (typed != genuine)


@pytest.mark.parametrize("at", [at for at in range(14) if "-" not in "04HMASW9-44J-2D"[at : at + 2]])
def test_two_neighbouring_symbols_of_a_tracing_code_swapped_are_noticed(at: int) -> None:
    """Hyphens apart, which the check character does not cover."""
    genuine = str(TracingCode(bytes.fromhex("0123456789"), 4242, 77))
    assert genuine.startswith("04HMASW9-44J-2D-")
    swapped = genuine[:at] + genuine[at + 1] + genuine[at] + genuine[at + 2 :]
    assert (parse_tracing_code(swapped) is None) == (swapped != genuine)


@pytest.mark.parametrize("height", [0, 2**63, 2**100])
def test_a_tracing_code_of_a_height_that_no_block_has_is_refused(height: int) -> None:
    """It would be a number that databases can't take."""
    assert parse_tracing_code(str(TracingCode(bytes(5), height, 1))) is None
    if height:
        assert parse_tracing_code(str(TracingCode(bytes(5), 1, height))) is None


def test_a_tracing_code_is_ascii() -> None:
    genuine = next(code for n in range(1, 999) if "S" in (code := str(TracingCode(GENESIS.chain[:5], n, 1))))
    assert parse_tracing_code(genuine) is not None
    assert parse_tracing_code(genuine.replace("S", "\u017f", 1)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
HEAD_FIELDS = [
    *("format", "chain", "site", "active", "sequence", "packet_id", "height", "entry", "kind", "payload"),
    *("leaf_index", "log_offset", "broker_time", "path", "header", "header_path", "key_offers"),
    *("tree_size", "certificate", "records", "authorities"),
]
HEAD: dict[str, Any] = {
    "format": "bkdms-site-head/v1",
    "chain": "00" * 32,
    "site": {"country": "US", "city": "c", "site_id": "::1"},
    "active": True,
    "packet_id": "00" * 32,
    "kind": "packet",
    "payload": None,
    "path": [],
    "header": "",
    "header_path": [],
    "key_offers": [],
    "records": [],
    "authorities": [],
    "certificate": "",
} | dict.fromkeys(("sequence", "height", "entry", "leaf_index", "log_offset", "broker_time", "tree_size"), 1)


def test_the_site_head_that_is_mutated_here_is_well_formed() -> None:
    assert not isinstance(parse_site_head(json.dumps(HEAD).encode()), ReceiptProblem)
    assert set(HEAD) == set(HEAD_FIELDS)


@given(st.sampled_from(HEAD_FIELDS), JSON | st.just("\ud800"))
def test_any_json_value_in_a_site_head_is_read_or_refused(field: str, value: Any) -> None:
    parse_site_head(json.dumps(HEAD | {field: value}).encode("utf-8", "surrogatepass"))


@given(st.sampled_from(["country", "city", "site_id"]), JSON)
def test_any_json_value_in_the_site_of_a_site_head_is_read_or_refused(field: str, value: Any) -> None:
    parse_site_head(json.dumps(HEAD | {"site": HEAD["site"] | {field: value}}).encode())


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_deeply_nested_site_head_is_refused(opening: bytes) -> None:
    assert isinstance(parse_site_head(opening * 100_000), ReceiptProblem)
