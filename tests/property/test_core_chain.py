"""The chain state machine against a small model, through duplicates, replays, revocations, clock steps, lost logs.

After every step: the outcome is the model's, blocks alone give the state that the log gave, and refusals leave no
trace but in the log digest. At the end: any restart at a block boundary gives the same bytes again. A log that is lost
takes along what is in no block yet; a reanchor goes on in another one, at any offset.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA, PACKET_SCHEMA, TICK_VALUE, enact, judge, parse_value
from pipeline.core.contract import Contract
from pipeline.core.control import (
    BackfillGrant,
    Body,
    Control,
    Enrol,
    KeyOffer,
    Reanchor,
    Revoke,
    control_id,
    countersign,
    possession_message,
    sign_control,
)
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError
from pipeline.core.keys import Algorithm, Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.outcome import Outcome
from pipeline.core.packet import packet_id
from pipeline.core.replica import Extended, extend
from pipeline.core.sealing import SealingKey, Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import ChainState
from tests.support.chain_model import HOUR_MS, ZERO, Model, Sent
from tests.support.world import NOW_MS, World, secret

CONTRACT = Contract(period_ms=1000, max_entries=5, max_sequence_jump=10, max_age_ms=HOUR_MS, skew_ms=5000)
SITES = st.integers(0, 2)
KEYS = st.integers(0, 1)
SIGNERS = st.sampled_from([(0, 1), (0, 1), (1, 2), (2, 1, 0), (0,), (1, 1)])


@dataclass(frozen=True)
class Row:
    """A consumed record: where it was in which log, when, what, and what became of it."""

    incarnation: int
    offset: int
    time: int
    value: bytes
    outcome: Outcome


class ChainMachine(RuleBasedStateMachine):
    """Drives a deriver, a replica fed by its blocks, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(contract=CONTRACT)
        self.model, self.model_at_head = Model(), Model()
        self.deriver = Deriver(self.world.state())
        self.replica = self.world.state()
        self.now = NOW_MS
        self.log: list[Row] = []
        self.incarnation, self.offset, self.consumed = 1, 0, 0
        self.sent: list[tuple[bytes, Sent]] = []
        self.blocks: list[Derived] = []
        self.certified: list[bytes] = []
        self.shadow, self.seen = self.world.state(), 0
        for site in (0, 1):
            self.enrol(site, 0, good=True)
            self.offer(site, 1)

    def signer(self, site: int, key: int) -> Ed25519Signer:
        """Return one of the two signing keys that a site has."""
        return Ed25519Signer(secret(f"machine{site}/{key}"), Use.SITE)

    def reader(self, site: int, epoch: int) -> SealingKey:
        """Return the platform's key for a site and epoch."""
        return SealingKey(Algorithm.X25519, secret(f"reader{site}/{epoch}"))

    def feed(self, value: bytes, expected: Outcome, model_before: Model | None = None) -> None:
        """Put a value into the log and check what became of it."""
        before, offset = deepcopy(self.deriver.state.tables), self.offset
        fed = self.deriver.feed(LogRecord(offset, self.now, value))
        assert fed.outcome is expected
        if expected is not Outcome.ADMITTED:
            assert self.deriver.state.tables == before
        self.log.append(Row(self.incarnation, offset, self.now, value, fed.outcome))
        self.offset += 1
        for derived in fed.closed:
            self.extend(derived)
            # What closed the block is in it only where the block is full.
            is_inside = derived.block.header.source.next == self.offset
            self.model_at_head = deepcopy(self.model if is_inside else model_before or self.model)

    def extend(self, derived: Derived) -> None:
        """Check a closed block and apply it to the replica."""
        header = derived.block.header
        assert header.source.incarnation == self.log[self.consumed].incarnation
        rows = [row for row in self.log[self.consumed :] if row.offset < header.source.next]
        assert [row.offset for row in rows] == list(range(header.source.first, header.source.next))
        self.consumed += len(rows)
        digest = sha256(b"bkdms/log/v1\0")
        for row in rows:
            digest.update(row.offset.to_bytes(8, "big") + row.time.to_bytes(8, "big"))
            digest.update(sha256(row.value).digest() + bytes([row.outcome]))
        assert header.log_digest == digest.digest()
        admitted = [(row.offset, row.time) for row in rows if row.outcome is Outcome.ADMITTED]
        assert [(entry.offset, entry.time_ms) for entry in derived.block.entries] == admitted
        assert 0 < len(admitted) <= CONTRACT.max_entries
        certified = self.world.certified(derived)
        result = extend(self.replica, certified)
        assert isinstance(result, Extended)
        assert result.changes == derived.changes
        self.blocks.append(derived)
        self.certified.append(certified)

    def control(self, sent: Sent, body: Body, step: int, *, linked: bool) -> None:
        """Send the registrar's next control record."""
        sequence, last_id = self.model.last.get("registrar", (0, ZERO))
        previous = last_id if linked else secret("elsewhere")
        number = max(1, sequence + step)
        raw = sign_control(self.world.genesis.chain, self.world.registrar, number, previous, body)
        identifier = control_id(raw)
        assert identifier is not None
        self.submit(
            avro.frame(CONTROL_SCHEMA, raw),
            replace(sent, sequence=number, previous=previous, own_id=identifier),
        )

    def submit(self, value: bytes, sent: Sent) -> None:
        """Send a value whose fate the model foretells."""
        self.sent.append((value, sent))
        self.expect(value, sent)

    def expect(self, value: bytes, sent: Sent) -> None:
        """Feed a value; the model goes first: the log is only told what is expected of it."""
        before = deepcopy(self.model)
        self.feed(value, self.model.expect(sent, self.now), before)

    @rule(site=SITES, key=KEYS, good=st.sampled_from([True, True, True, False]))
    def enrol(self, site: int, key: int, good: bool) -> None:
        name, signer = self.world.site(site).name, self.signer(site, key)
        claim = possession_message(self.world.genesis.chain, name, signer.public.fingerprint)
        possession = signer.sign(claim if good else claim + b"!")
        body = Enrol(name, Algorithm.ED25519, signer.public.raw, possession, (Suite.LIGHT,), ("LOCAL:X",))
        self.control(Sent("enrol", site, key, good=good), body, 1, linked=True)

    @rule(site=SITES, epoch=st.integers(1, 3))
    def offer(self, site: int, epoch: int) -> None:
        raw = self.reader(site, epoch).public.raw
        body = KeyOffer(self.world.site(site).name, epoch, Algorithm.X25519, raw, MAX_TIME_MS)
        self.control(Sent("offer", site, number=epoch), body, 1, linked=True)

    @rule(site=SITES, key=KEYS)
    def revoke(self, site: int, key: int) -> None:
        fingerprint = self.signer(site, key).public.fingerprint
        body = Revoke(self.world.site(site).name, fingerprint, "test")
        self.control(Sent("revoke", site, key), body, 1, linked=True)

    @rule(site=SITES, hours=st.integers(1, 5), step=st.sampled_from([0, 1, 1, 10, 11]), linked=st.booleans())
    def grant(self, site: int, hours: int, step: int, linked: bool) -> None:
        first = NOW_MS - hours * HOUR_MS
        body = BackfillGrant(self.world.site(site).name, first, MAX_TIME_MS, MAX_TIME_MS)
        self.control(Sent("grant", site, number=first), body, step, linked=linked)

    @rule(
        site=st.sampled_from([0, 0, 0, 1, 1, 2]),
        key=st.sampled_from([0, 0, 0, 1]),
        step=st.sampled_from([1, 1, 1, 1, 0, -1, 10, 11]),
        linked=st.sampled_from([True, True, True, False]),
        hours=st.sampled_from([0, 0, 0, 0, 1, -2, -4]),
        epoch=st.integers(1, 3),
        good=st.sampled_from([True, True, True, False]),
    )
    def packet(
        self, site: int, key: int, step: int, linked: bool, hours: int, epoch: int, good: bool
    ) -> None:
        sequence, last_id = self.model.last.get(site, (0, ZERO))
        previous, number = last_id if linked else secret("elsewhere"), max(1, sequence + step)
        time = self.now + hours * HOUR_MS
        member = self.model.members.get(site)
        if member is not None and member.readers and epoch != 3:
            epoch = member.readers[-1]
        sender = replace(
            self.world.site(site),
            signer=self.signer(site, key),
            platform_key=self.reader(site, epoch),
            previous=previous,
        )
        raw = sender.packet([len(self.sent)], time_ms=time, sequence=number)
        if not good:
            raw = raw[:-1] + bytes([raw[-1] ^ 1])
        sent = Sent("packet", site, key, number, previous, packet_id(raw), time, epoch, good)
        self.submit(avro.frame(PACKET_SCHEMA, raw), sent)

    @rule(back=st.integers(0, 30))
    def replay(self, back: int) -> None:
        """Send an old value again: packet or control record, let in then or not."""
        if self.sent:
            value, sent = self.sent[-1 - back % len(self.sent)]
            if sent.act == "reanchor":
                self.anchor(value, replace(sent, good=self.opens(value)))
            else:
                self.expect(value, sent)

    def opens(self, value: bytes) -> bool:
        """Tell whether a reanchor names the head and nothing was consumed since."""
        control, head = parse_value(value), self.replica.head
        assert isinstance(control, Control)
        named = Reanchor(head.incarnation + 1, head.height, head.block_hash)
        return control.body == named and self.consumed == len(self.log)

    def anchor(self, value: bytes, sent: Sent, offset: int | None = None) -> bool:
        """Feed a reanchor where it is admitted, or where offsets don't jump; tell whether it was."""
        is_admitted = deepcopy(self.model).expect(sent, self.now) is Outcome.ADMITTED
        if is_admitted:
            self.incarnation, self.offset = self.incarnation + 1, self.offset if offset is None else offset
        if is_admitted or offset is None or offset == self.offset:
            self.expect(value, sent)
        return is_admitted

    def anchored(self, signers: tuple[int, ...], changes: dict[str, Any]) -> tuple[bytes, Sent]:
        """Return a reanchor of the head by root keys, with something wrong in it or not."""
        chain, (first, *others) = self.world.genesis.chain, (self.world.roots[i] for i in signers)
        head = self.replica.head
        body = replace(Reanchor(self.incarnation + 1, head.height, head.block_hash), **changes)
        sequence, previous = self.model.last.get(f"root {signers[0]}", (0, ZERO))
        raw = sign_control(chain, first, sequence + 1, previous, body)
        for other in others:
            raw = countersign(raw, other)
        own_id = control_id(raw)
        assert own_id is not None
        value = avro.frame(CONTROL_SCHEMA, raw)
        good = self.opens(value)
        sent = Sent("reanchor", -1, 0, sequence + 1, previous, own_id, good=good, signers=signers)
        self.sent.append((value, sent))
        return value, sent

    @rule(signers=SIGNERS, changes=st.sampled_from([{}, {}, {}, {"incarnation": 99}, {"block_hash": ZERO}]))
    def reanchor(self, signers: tuple[int, ...], changes: dict[str, Any]) -> None:
        """In place: admitted where nothing was consumed since the head, and only there."""
        self.anchor(*self.anchored(signers, changes))

    @rule(signers=SIGNERS, offset=st.sampled_from([0, 1, 7, 1000]), good=st.sampled_from([True, True, False]))
    def log_is_lost(self, signers: tuple[int, ...], offset: int, good: bool) -> None:
        """What is in no block is forgotten; the chain goes on at a reanchor in another log, if it is a good one."""
        self.forget()
        value, sent = self.anchored(signers, {} if good else {"height": 10**6})
        if not self.anchor(value, sent, offset) and offset != self.offset:
            before = deepcopy(self.deriver.state.tables)
            with pytest.raises(IntegrityError, match="jumps"):
                self.deriver.feed(LogRecord(offset, self.now, value))
            assert self.deriver.state.tables == before

    def forget(self) -> None:
        """Go back to the last block, as a node that starts does."""
        self.model = deepcopy(self.model_at_head)
        head = self.replica.head
        self.deriver = Deriver(ChainState(self.world.genesis, deepcopy(self.replica.tables), head))
        self.incarnation, self.offset = head.incarnation, head.next_offset
        del self.log[self.consumed :]
        self.shadow = ChainState(self.world.genesis, deepcopy(self.replica.tables), head)
        self.seen = len(self.log)

    @rule()
    def tick(self) -> None:
        self.feed(TICK_VALUE, Outcome.TICK)

    @rule(value=st.sampled_from([b"", b"\1garbage", b"\0\0\0\0\1garbage", TICK_VALUE + b"\0"]))
    def garbage(self, value: bytes) -> None:
        parsed = parse_value(value)
        assert isinstance(parsed, Outcome)
        assert parsed.is_refusal
        self.feed(value, parsed)

    @rule(step=st.sampled_from([1, 400, 1000, 5000, -1500]))
    def time_moves(self, step: int) -> None:
        self.now += step

    @invariant()
    def blocks_and_the_open_entries_give_the_state_of_the_log(self) -> None:
        if self.shadow.head != self.replica.head:
            self.shadow = ChainState(self.world.genesis, deepcopy(self.replica.tables), self.replica.head)
            self.seen = self.consumed
        for number, row in enumerate(self.log[self.seen :], self.seen):
            parsed = parse_value(row.value)
            opens_block = number == self.consumed
            assert judge(self.shadow, parsed, row.time, opens_block=opens_block) is row.outcome
            if row.outcome is Outcome.ADMITTED and not isinstance(parsed, Outcome):
                enact(self.shadow, parsed)
        self.seen = len(self.log)
        assert self.shadow.tables == self.deriver.state.tables
        assert self.shadow.head == self.deriver.state.head

    @invariant()
    def the_model_knows_the_same_rights(self) -> None:
        tables = self.deriver.state.tables
        assert {self.world.site(n).name: m.active for n, m in self.model.members.items()} == {
            name: site.active for name, site in tables.sites.items()
        }

    def teardown(self) -> None:
        for derived in self.deriver.close():
            self.extend(derived)
        self._restart_at_every_boundary()

    def _restart_at_every_boundary(self) -> None:
        """Derive again, starting anew from blocks alone after each block, with values parsed before."""
        replica, position = self.world.state(), 0
        for derived, certified in zip(self.blocks, self.certified, strict=True):
            deriver = Deriver(ChainState(self.world.genesis, deepcopy(replica.tables), replica.head))
            source, found = derived.block.header.source, list[Derived]()
            end = position + source.next - source.first
            for row in self.log[position : end + 1]:
                if row is self.log[position] or row.offset == deriver.next_offset:
                    record = LogRecord(row.offset, row.time, row.value)
                    found += deriver.feed(record, parse_value(row.value)).closed
            found += deriver.close() if not found else ()
            position = end
            assert found[0].block.encoded == derived.block.encoded
            assert found[0].checkpoint == derived.checkpoint
            assert isinstance(extend(replica, certified), Extended)


ChainMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestChain = ChainMachine.TestCase
