"""Whatever becomes of genuine bytes on the way, every reader of them keeps what its fuzz target promises."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.material import material
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

PIECES = (
    b"\0",
    b"\xff",
    b"\n",
    b" ",
    b"+",
    b"=",
    b"A",
    b"0",
    b"9" * 20,
    b"\x80\x80\0",
    "\u2014".encode(),
    b"null",
    b"[" * 50,
    b"/x000",
    b"x000/",
)

NESTED = [
    *(
        "genesis",
        "site-head",
        "evidence",
        "anchor",
        "proposal",
        "access-request",
        "access-answer",
        "access-bundle",
    ),
    *("jwks", "log-line", "key-file", "settings", "assess-plan", "deployment"),
]
"""Targets of JSON and TOML."""


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Return genuine bytes with a few bits, pieces or lines changed, moved, doubled or cut."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "cut", "piece", "drop", "order", "lines", "splice"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "piece":
                data[at:at] = draw(st.sampled_from(PIECES) | st.binary(max_size=12))
            case "drop":
                del data[at : at + draw(st.integers(1, 40))]
            case "order":
                data = bytearray(b"\n".join(draw(st.permutations(bytes(data).split(b"\n")[:12]))))
            case "lines":
                lines = bytes(data).split(b"\n")
                first = draw(st.integers(0, len(lines) - 1))
                del lines[first : first + draw(st.integers(1, 4))]
                data = bytearray(b"\n".join(lines))
            case _:
                other = draw(st.sampled_from(seeds))
                data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_genuine_bytes_are_accepted(target: Target) -> None:
    for seed in target.seeds():
        assert target.check(seed)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_changed_bytes_are_refused_or_as_good_as_genuine(target: Target, data: st.DataObject) -> None:
    target.check(data.draw(changed(target.seeds())))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@settings(max_examples=30)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_judged(target: Target, data: bytes) -> None:
    target.check(data)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_short_bytes_with_a_piece_put_in_anywhere_are_judged(target: Target) -> None:
    for seed in (seed for seed in target.seeds() if len(seed) <= 120):
        for at in range(len(seed) + 1):
            for piece in PIECES:
                target.check(seed[:at] + piece + seed[at:])


@pytest.mark.parametrize("name", ["note", "witnessed", "policy", "witness-answer", "checkpoint"])
def test_texts_without_some_of_their_lines_are_judged(name: str) -> None:
    for seed in TARGETS[name].seeds():
        lines = seed.split(b"\n")
        for first in range(len(lines)):
            for count in range(1, 8):
                TARGETS[name].check(b"\n".join(lines[:first] + lines[first + count :]))


@pytest.mark.parametrize("name", ["no+de", "no\u00a0de"])
def test_a_signature_line_of_an_impossible_name_spoils_a_note_for_both_checkers(name: str) -> None:
    note = material().notes[0].replace("— node-2 ".encode(), f"— {name} ".encode(), 1)
    assert note != material().notes[0]
    assert not TARGETS["witnessed"].check(note)


@pytest.mark.parametrize("name", NESTED)
def test_texts_nested_beyond_any_reader_are_refused(name: str) -> None:
    for opening in (b"", b"a = ", b'{"a":', b'{"content":'):
        assert not TARGETS[name].check(opening + b"[" * 9_999)


@pytest.mark.parametrize(
    "changed_item", [1 << 63, -(1 << 70), "a\0b", "\ud800"], ids=["long", "longer", "nul", "surrogate"]
)
def test_a_place_in_a_list_that_no_column_holds_is_refused(changed_item: int | str) -> None:
    """A caller's place goes into the question to the store, and databases refuse such values by errors of their own."""
    genuine = json.loads(urlsafe_b64decode(TARGETS["page-place"].seeds()[0]))
    at = 0 if isinstance(changed_item, int) else 1
    genuine[at] = changed_item
    assert not TARGETS["page-place"].check(urlsafe_b64encode(json.dumps(genuine).encode()))
