"""A reanchor: where root keys let the chain go on in another copy of its log, and nowhere else."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import Block, Header, encode_certified, make_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.control import Reanchor, control_id, countersign, describe, parse_control, sign_control
from pipeline.core.derive import Derived, Deriver, Fed, LogRecord, entries_root
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import parse_genesis
from pipeline.core.keys import Use
from pipeline.core.outcome import Outcome
from pipeline.core.replica import BlockProblem, BlockReason, Extended, extend
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import ChainState
from tests.support.world import NOW_MS, PERIOD_MS, World, control_value, packet_value, secret
from tests.vectors import generate_reanchor
from tests.vectors.core_world import FOLDER

STORED: dict[str, Any] = json.loads((FOLDER / generate_reanchor.NAME).read_text())
STRANGER = Ed25519Signer(secret("stranger"), Use.ROOT)


@dataclass
class Line:
    """A chain of one block that enrolled a site, at offset 3 of its log, and a replica fed by its blocks."""

    def __post_init__(self) -> None:
        self.world = World()
        self.deriver = Deriver(self.world.state())
        self.replica = self.world.state()
        self.site = self.world.site(1)
        self.blocks: list[Derived] = []
        self.time = NOW_MS
        for raw in self.world.enrolment(self.site):
            self.feed(control_value(raw))
        self.close()
        assert (self.deriver.next_offset, len(self.blocks)) == (3, 1)
        assert self.deriver.close() == ()
        self.deriver = Deriver(self.deriver.state)

    @property
    def state(self) -> ChainState:
        return self.deriver.state

    def feed(self, value: bytes, offset: int | None = None) -> Outcome:
        """Put a value into the log, at the next offset unless told otherwise."""
        at = self.deriver.next_offset if offset is None else offset
        fed: Fed = self.deriver.feed(LogRecord(at, self.time, value))
        self._take(fed.closed)
        return fed.outcome

    def close(self) -> None:
        """Close the open block where it is."""
        self.feed(TICK_VALUE)
        self._take(self.deriver.close())
        self.time += PERIOD_MS

    def _take(self, closed: tuple[Derived, ...]) -> None:
        for derived in closed:
            self.blocks.append(derived)
            assert isinstance(extend(self.replica, self.world.certified(derived)), Extended)

    def reanchor(self, *signers: Ed25519Signer, **changes: object) -> bytes:
        return control_value(self.world.reanchor(self.state, *signers, **changes))


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.mark.parametrize("offset", [0, 2, 3, 4, 10**6], ids=lambda offset: f"offset-{offset}")
def test_the_chain_goes_on_at_a_reanchor_wherever_it_lies(line: Line, offset: int) -> None:
    assert line.feed(line.reanchor(), offset) is Outcome.ADMITTED
    assert line.feed(packet_value(line.site.packet([1], time_ms=line.time))) is Outcome.ADMITTED
    line.close()
    source = line.blocks[1].block.header.source
    assert (source.incarnation, source.first, source.next) == (2, offset, offset + 3)
    assert (line.state.head.incarnation, line.state.head.next_offset) == (2, offset + 3)
    assert line.replica.head == line.state.head
    assert line.replica.tables == line.state.tables


def test_a_chain_without_blocks_can_go_on_elsewhere_too() -> None:
    world = World()
    deriver = Deriver(world.state())
    value = control_value(world.reanchor(deriver.state))
    assert deriver.feed(LogRecord(17, NOW_MS, value)).outcome is Outcome.ADMITTED
    (derived,) = deriver.close()
    assert isinstance(extend(world.state(), world.certified(derived)), Extended)


def test_the_chain_can_be_reanchored_again_and_again(line: Line) -> None:
    for turn, signers in enumerate(((0, 1), (0, 2), (2, 1)), 2):
        line.deriver = Deriver(line.state)
        value = line.reanchor(*(line.world.roots[i] for i in signers))
        assert line.feed(value, 0) is Outcome.ADMITTED
        line.close()
        assert (line.replica.head.incarnation, line.replica.head.next_offset) == (turn, 2)


WRONG_SIGNERS: dict[str, tuple[Outcome, Callable[[World], tuple[Ed25519Signer, ...]]]] = {
    "one of two": (Outcome.BAD_SIGNATURE, lambda w: (w.roots[0],)),
    "the same key twice": (Outcome.BAD_SIGNATURE, lambda w: (w.roots[0], w.roots[0])),
    "a third that is the first": (Outcome.BAD_SIGNATURE, lambda w: (w.roots[0], w.roots[1], w.roots[0])),
    "a stranger as second": (Outcome.BAD_SIGNATURE, lambda w: (w.roots[0], STRANGER)),
    "a stranger beside enough": (Outcome.BAD_SIGNATURE, lambda w: (*w.roots[:2], STRANGER)),
    "a stranger first": (Outcome.UNKNOWN_ISSUER, lambda w: (STRANGER, *w.roots[:2])),
    "the registrar first": (Outcome.UNKNOWN_ISSUER, lambda w: (w.registrar, *w.roots[:2])),
    "the registrar as second": (Outcome.BAD_SIGNATURE, lambda w: (w.roots[0], w.registrar)),
}


@pytest.mark.parametrize("who", WRONG_SIGNERS)
def test_only_enough_distinct_root_keys_reanchor(line: Line, who: str) -> None:
    outcome, signers = WRONG_SIGNERS[who]
    tables = deepcopy(line.state.tables)
    value = line.reanchor(*signers(line.world))
    with pytest.raises(IntegrityError, match="jumps"):
        line.feed(value, 0)
    assert line.feed(value) is outcome
    assert line.state.tables == tables


def test_all_root_keys_may_sign(line: Line) -> None:
    assert line.feed(line.reanchor(*line.world.roots), 0) is Outcome.ADMITTED


def test_every_signature_has_to_be_good(line: Line) -> None:
    value = line.reanchor()
    for position in (2, 98):  # the last byte of the second and of the first signature
        assert line.feed(value[:-position] + bytes([value[-position] ^ 1]) + value[-position + 1 :]) is (
            Outcome.BAD_SIGNATURE
        )
        line.deriver = Deriver(line.state)


def test_the_issuer_is_the_first_signer(line: Line) -> None:
    raw = line.reanchor()
    first, second = raw[-193:-97], raw[-97:-1]
    assert line.feed(raw[:-193] + second + first + raw[-1:]) is Outcome.BAD_SIGNATURE


def test_root_keys_enrol_nobody(line: Line) -> None:
    body = parse_control(line.world.enrolment(line.world.site(2))[0])
    raw = sign_control(line.world.genesis.chain, line.world.roots[0], 1, bytes(32), body.body)  # type: ignore[union-attr]
    assert line.feed(control_value(countersign(raw, line.world.roots[1]))) is Outcome.UNKNOWN_ISSUER


WRONG_HEADS: dict[str, dict[str, Any]] = {
    "same incarnation": {"incarnation": 1},
    "incarnation skipped": {"incarnation": 3},
    "a height before": {"height": 0},
    "a height ahead": {"height": 2},
    "another block": {"block_hash": secret("other")},
}


@pytest.mark.parametrize("wrong", WRONG_HEADS)
def test_only_the_head_in_the_next_incarnation_can_be_named(line: Line, wrong: str) -> None:
    value = line.reanchor(**WRONG_HEADS[wrong])
    with pytest.raises(IntegrityError, match="jumps"):
        line.feed(value, 0)
    assert line.feed(value) is Outcome.CONFLICTING


def test_in_the_middle_of_a_block_there_is_no_reanchor(line: Line) -> None:
    value = line.reanchor()
    assert line.feed(packet_value(line.site.packet([1], time_ms=line.time))) is Outcome.ADMITTED
    for _ in range(2):
        with pytest.raises(IntegrityError, match="jumps"):
            line.feed(value, 0)
        assert (line.state.head.height, line.deriver.open_entries) == (1, 1)
        line.time += PERIOD_MS
    line.time -= 2 * PERIOD_MS
    assert line.feed(value) is Outcome.CONFLICTING
    line.close()
    assert line.blocks[1].block.header.source.incarnation == 1


def test_a_record_that_was_refused_stands_between_the_block_and_a_reanchor(line: Line) -> None:
    value = line.reanchor()
    assert line.feed(b"garbage").is_refusal
    with pytest.raises(IntegrityError, match="jumps"):
        line.feed(value, 0)
    assert line.feed(value) is Outcome.CONFLICTING


def test_a_record_that_closes_a_block_is_no_reanchor_of_the_block_before(line: Line) -> None:
    value = line.reanchor()
    line.feed(packet_value(line.site.packet([1], time_ms=line.time)))
    line.time += PERIOD_MS
    assert line.feed(value) is Outcome.CONFLICTING
    assert len(line.blocks) == 2


def test_a_reanchor_comes_back_to_nothing(line: Line) -> None:
    """Neither at once, nor after its block, nor from other signers for the same incarnation."""
    again, others = line.reanchor(), line.reanchor(*line.world.roots[1:])
    assert line.feed(again, 0) is Outcome.ADMITTED
    assert line.feed(again) is Outcome.DUPLICATE
    assert line.feed(others) is Outcome.CONFLICTING
    line.close()
    for value, outcome in ((again, Outcome.DUPLICATE), (others, Outcome.CONFLICTING)):
        deriver = Deriver(line.state)
        with pytest.raises(IntegrityError, match="jumps"):
            deriver.feed(LogRecord(0, line.time, value))
        assert deriver.feed(LogRecord(deriver.next_offset, line.time, value)).outcome is outcome


def test_other_records_do_not_jump(line: Line) -> None:
    for offset in (0, 2, 4):
        for value in (TICK_VALUE, packet_value(line.site.packet([1], time_ms=line.time, advance=False)), b""):
            with pytest.raises(IntegrityError, match="jumps"):
                line.feed(value, offset)


def test_after_a_reanchor_offsets_are_consecutive_again(line: Line) -> None:
    line.feed(line.reanchor(), 50)
    with pytest.raises(IntegrityError, match="jumps from offset 51 to 60"):
        line.feed(TICK_VALUE, 60)


def anew(line: Line) -> tuple[ChainState, Block]:
    """Return the state before a block that begins with a reanchor, and that block: reanchor, packet."""
    state = deepcopy(line.replica)
    line.feed(line.reanchor(), 50)
    line.feed(packet_value(line.site.packet([1], time_ms=line.time)))
    line.close()
    return state, line.blocks[1].block


def certified(line: Line, state: ChainState, block: Block) -> bytes:
    """Return a block as a quorum that lies could certify it."""
    frontier = state.head.frontier.extend(block.leaf_hashes)
    checkpoint = Checkpoint(state.genesis.origin, frontier.size, frontier.root())
    return encode_certified(block, line.world.certificate(checkpoint))


FORGED: dict[str, Callable[[Header], dict[str, Any]]] = {
    "incarnation of before": lambda h: {"incarnation": 1},
    "incarnation of before, in place": lambda h: {"incarnation": 1, "first": 3},
    "incarnation skipped": lambda h: {"incarnation": 3},
    "first before the reanchor": lambda h: {"first": h.source.first - 1},
    "first after the reanchor": lambda h: {"first": h.source.first + 1},
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_replica_takes_no_other_source_even_where_a_quorum_certified_it(line: Line, forged: str) -> None:
    state, block = anew(line)
    source = replace(block.header.source, **FORGED[forged](block.header))
    lie = make_block(replace(block.header, source=source), block.entries)
    found = extend(state, certified(line, state, lie))
    assert isinstance(found, BlockProblem)
    assert found.reason in (BlockReason.HEADER, BlockReason.ENTRY)
    assert isinstance(extend(state, certified(line, state, block)), Extended)


def test_a_replica_takes_no_jump_without_its_reanchor(line: Line) -> None:
    state, block = anew(line)
    for entries in (block.entries[1:], block.entries[::-1]):
        moved = tuple(replace(entry, offset=50 + number) for number, entry in enumerate(entries))
        header = replace(block.header, entry_count=len(moved), entries_root=entries_root(moved))
        found = extend(state, certified(line, state, make_block(header, moved)))
        assert isinstance(found, BlockProblem)
        assert "source" in found.detail


def test_a_reanchor_is_described_by_its_height() -> None:
    assert describe(Reanchor(2, 7, bytes(32))) == "Reanchor after block 7"


def test_the_stored_vectors_are_those_of_the_generator() -> None:
    assert (FOLDER / generate_reanchor.NAME).read_text() == generate_reanchor.content()


def test_two_root_keys_sign_the_stored_record() -> None:
    genesis = parse_genesis(STORED["genesis"].encode())
    first, _, third = (Ed25519Signer(bytes.fromhex(secret), Use.ROOT) for secret in STORED["roots"])
    raw = sign_control(genesis.chain, first, 1, bytes(32), Reanchor(2, 0, genesis.chain))
    assert countersign(raw, third).hex() == STORED["raw"]
    assert control_id(raw) == bytes.fromhex(STORED["id"])


def test_the_stored_record_gives_the_stored_block() -> None:
    deriver = Deriver(ChainState(parse_genesis(STORED["genesis"].encode())))
    value = control_value(bytes.fromhex(STORED["raw"]))
    assert deriver.feed(LogRecord(STORED["offset"], STORED["time"], value)).outcome is Outcome.ADMITTED
    (derived,) = deriver.close()
    block = derived.block
    assert (block.encoded.hex(), block.hash.hex()) == (STORED["block"]["encoded"], STORED["block"]["hash"])
    assert block.leaf_hashes[-1].hex() == STORED["block"]["header_leaf"]
