"""Whatever byte of a block is changed, the audit names bytes that include it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core.avro_places import places
from pipeline.core.block import CERTIFIED_BLOCK
from pipeline.core.damage import Damage, locate_damage
from pipeline.core.replica import Extended, extend
from pipeline.core.state import ChainState
from tests.support.chain import Chain
from tests.support.world import control_value, packet_value


def build() -> tuple[Chain, bytes]:
    chain = Chain()
    sites = [chain.world.site(i) for i in (1, 2)]
    chain.enrol(*sites)
    chain.packets(sites[0].packet([1]))
    chain.block(
        packet_value(sites[0].packet([1])),
        control_value(chain.world.backfill(sites[1], 0, 1)),
        packet_value(sites[1].packet([2])),
    )
    return chain, chain.certified[2]


CHAIN, GOOD = build()


def before() -> ChainState:
    state = CHAIN.world.state()
    for certified in CHAIN.certified[:2]:
        assert isinstance(extend(state, certified), Extended)
    return state


STATE = before()


def test_a_good_block_has_no_damage() -> None:
    assert locate_damage(STATE, GOOD) is None


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(GOOD) - 1), mask=st.integers(1, 255))
@example(position=len(GOOD) - 1, mask=1)
def test_a_changed_byte_is_inside_what_is_named(position: int, mask: int) -> None:
    bad = bytearray(GOOD)
    bad[position] ^= mask
    head, tables = STATE.head, repr(STATE.tables)
    damage = locate_damage(STATE, bytes(bad))
    if damage is None:
        assert isinstance(extend(before(), bytes(bad)), Extended)
    else:
        assert damage.start <= position < damage.end, f"{damage} for a change at {position}"
    assert (STATE.head, repr(STATE.tables)) == (head, tables)


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
