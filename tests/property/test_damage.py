"""Whatever byte of a block is changed, the audit names bytes that include it."""

from copy import deepcopy

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core.avro_places import places
from pipeline.core.block import CERTIFIED_BLOCK, bytes_value
from pipeline.core.damage import Damage, locate_damage
from pipeline.core.derive import Deriver, LogRecord
from pipeline.core.outcome import Outcome
from pipeline.core.replica import Extended, extend
from pipeline.core.state import ChainState
from tests.support.chain import Chain
from tests.support.world import NOW_MS, control_value, packet_value


def build(offset: int = 0) -> tuple[Chain, bytes]:
    """Return a chain and its third block, whose offsets in the chain log come after ``offset``."""
    chain = Chain()
    for _ in range(offset):
        chain.add(b"refused")
    sites = [chain.world.site(i) for i in (1, 2)]
    chain.enrol(*sites)
    chain.packets(sites[0].packet([1]))
    chain.block(
        packet_value(sites[0].packet([1])),
        control_value(chain.world.backfill(sites[1], 0, 1)),
        packet_value(sites[1].packet([2])),
    )
    return chain, chain.certified[2]


def before(chain: Chain) -> ChainState:
    state = chain.world.state()
    for certified in chain.certified[:2]:
        assert isinstance(extend(state, certified), Extended)
    return state


CHAIN, GOOD = build()
STATE = before(CHAIN)
FAR, FAR_GOOD = build(offset=180)
FAR_STATE = before(FAR)


def bytes_of(number: int) -> bytes:
    """Return Avro's encoding of a number that is not negative."""
    number, out = number << 1, bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def assert_named(state: ChainState, good: bytes, position: int, mask: int) -> None:
    """Change one byte; the state keeps as it is."""
    bad = bytearray(good)
    bad[position] ^= mask
    head, tables = state.head, repr(state.tables)
    damage = locate_damage(state, bytes(bad))
    assert (state.head, repr(state.tables)) == (head, tables)
    if damage is None:
        assert isinstance(extend(before(CHAIN if state is STATE else FAR), bytes(bad)), Extended)
    else:
        assert damage.start <= position < damage.end, f"{damage} for a change at {position}"


def build_anew() -> tuple[ChainState, bytes]:
    """Return a state and the block after it, which goes on in another copy of the log."""
    chain = Chain()
    site = chain.world.site(1)
    chain.enrol(site)
    state = chain.world.state()
    assert isinstance(extend(state, chain.certified[0]), Extended)
    deriver = Deriver(deepcopy(chain.deriver.state))
    values = [control_value(chain.world.reanchor(state)), packet_value(site.packet([1]))]
    for offset, value in enumerate(values, 1000):
        assert deriver.feed(LogRecord(offset, NOW_MS + 9000, value)).outcome is Outcome.ADMITTED
    (derived,) = deriver.close()
    return state, chain.world.certified(derived)


ANEW_STATE, ANEW = build_anew()


@pytest.mark.parametrize("mask", [1, 2, 64, 128])
def test_a_changed_byte_of_a_block_that_begins_anew_is_inside_what_is_named(mask: int) -> None:
    assert locate_damage(ANEW_STATE, ANEW) is None
    end = next(place.start for place in places(CERTIFIED_BLOCK, ANEW) if place.path == ("certificate",))
    for position in range(end):
        bad = bytearray(ANEW)
        bad[position] ^= mask
        damage = locate_damage(ANEW_STATE, bytes(bad))
        assert isinstance(damage, Damage), position
        assert damage.start <= position < damage.end, f"{damage} for a change at {position}"


def test_a_good_block_has_no_damage() -> None:
    assert locate_damage(STATE, GOOD) is None


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(GOOD) - 1), mask=st.integers(1, 255))
@example(position=len(GOOD) - 1, mask=1)
@example(position=62, mask=208)
@example(position=68, mask=240)
@example(position=223, mask=16)
def test_a_changed_byte_is_inside_what_is_named(position: int, mask: int) -> None:
    assert_named(STATE, GOOD, position, mask)


@pytest.mark.parametrize(("state", "good"), [(STATE, GOOD), (FAR_STATE, FAR_GOOD)], ids=["near", "far"])
def test_a_changed_byte_of_any_number_is_inside_what_is_named(state: ChainState, good: bytes) -> None:
    """Numbers and lengths, whose change may shift all that follows; offsets of one and of two bytes."""
    numbers = {
        position
        for place in places(CERTIFIED_BLOCK, good)
        for position in range(place.start, min(place.end, place.start + 2))
        if len(place.path) > 3 or place.path[-1] in ("period_end", "part", "entry_count", "certificate")
    }
    for position in sorted(numbers):
        for mask in (1, 2, 4, 6, 16, 64, 128, 85):
            assert_named(state, good, position, mask)


def test_the_wrong_one_of_two_offsets_that_do_not_ascend_is_named() -> None:
    fields = {place.path: place for place in places(CERTIFIED_BLOCK, GOOD)}
    offset = fields["block", "entries", 0, "offset"]
    for number in (offset.value + 2, 10**6, 0):
        bad = GOOD[: offset.start] + bytes_of(number) + GOOD[offset.end :]
        damage = locate_damage(STATE, bad)
        assert isinstance(damage, Damage)
        assert (damage.field, damage.entry, damage.start) == ("offset", 0, offset.start)


def test_every_byte_of_the_header_and_of_the_entries_is_covered() -> None:
    fields = list(places(CERTIFIED_BLOCK, GOOD))
    end = next(place.start for place in fields if place.path == ("certificate",))
    for position in range(0, end, 7):
        bad = bytearray(GOOD)
        bad[position] ^= 1
        damage = locate_damage(STATE, bytes(bad))
        assert isinstance(damage, Damage), position
        assert damage.start <= position < damage.end


@pytest.mark.parametrize("length", [0, 1, 50, len(GOOD) // 2, len(GOOD) - 1])
def test_a_block_cut_short_is_named_at_its_end(length: int) -> None:
    damage = locate_damage(STATE, GOOD[:length])
    assert isinstance(damage, Damage)
    assert damage.end == length


def test_a_certificate_whose_length_is_too_short_is_named() -> None:
    place = next(place for place in places(CERTIFIED_BLOCK, GOOD) if place.path == ("certificate",))
    lines = place.value.splitlines(keepends=True)
    short = bytes_value(place.value[: -len(lines[-1])])
    damage = locate_damage(STATE, GOOD[: place.start] + short + lines[-1])
    assert isinstance(damage, Damage)
    assert (damage.field, damage.start) == ("certificate", place.start)


def test_bytes_after_the_end_are_named() -> None:
    damage = locate_damage(STATE, GOOD + b"x")
    assert isinstance(damage, Damage)
    assert (damage.field, damage.start, damage.end) == ("after the end", len(GOOD), len(GOOD) + 1)


@given(data=st.binary(max_size=400))
def test_random_bytes_never_raise(data: bytes) -> None:
    assert locate_damage(STATE, data) is not None


@pytest.mark.parametrize(
    ("path", "field", "entry"),
    [
        (("block", "header", "previous_hash"), "header.previous_hash", None),
        (("block", "header", "entries_root"), "header.entries_root", None),
        (("block", "header", "log_digest"), "header", None),
        (("block", "entries", 2, "payload"), "payload", 2),
        (("block", "entries", 1, "payload"), "payload", 1),
        (("certificate",), "certificate", None),
    ],
)
def test_the_field_is_named(path: tuple[str | int, ...], field: str, entry: int | None) -> None:
    place = next(place for place in places(CERTIFIED_BLOCK, GOOD) if place.path == path)
    bad = bytearray(GOOD)
    bad[place.end - 8] ^= 4
    damage = locate_damage(STATE, bytes(bad))
    assert isinstance(damage, Damage)
    assert (damage.field, damage.entry) == (field, entry)
