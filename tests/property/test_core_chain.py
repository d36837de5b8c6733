"""The chain state machine against a small model, through duplicates, replays, revocations and clock steps.

After every step: the outcome is the model's, blocks alone give the state that the log gave, and refusals leave no
trace but in the log digest. At the end: any restart at a block boundary gives the same bytes again.
"""

from copy import deepcopy
from dataclasses import replace
from hashlib import sha256

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA, PACKET_SCHEMA, TICK_VALUE, enact, judge, parse_value
from pipeline.core.contract import Contract
from pipeline.core.control import (
    BackfillGrant,
    Body,
    Enrol,
    KeyOffer,
    Revoke,
    control_id,
    possession_message,
    sign_control,
)
from pipeline.core.derive import Derived, Deriver, LogRecord
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


class ChainMachine(RuleBasedStateMachine):
    """Drives a deriver, a replica fed by its blocks, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(contract=CONTRACT)
        self.model = Model()
        self.deriver = Deriver(self.world.state())
        self.replica = self.world.state()
        self.now = NOW_MS
        self.log: list[tuple[int, bytes, Outcome]] = []
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

    def feed(self, value: bytes, expected: Outcome) -> None:
        """Put a value into the log and check what became of it."""
        before = deepcopy(self.deriver.state.tables)
        fed = self.deriver.feed(LogRecord(len(self.log), self.now, value))
        assert fed.outcome is expected
        if expected is not Outcome.ADMITTED:
            assert self.deriver.state.tables == before
        self.log.append((self.now, value, fed.outcome))
        for derived in fed.closed:
            self.extend(derived)

    def extend(self, derived: Derived) -> None:
        """Check a closed block and apply it to the replica."""
        header = derived.block.header
        rows = list(enumerate(self.log))[header.source.first : header.source.next]
        digest = sha256(b"bkdms/log/v1\0")
        for offset, (time, value, outcome) in rows:
            digest.update(offset.to_bytes(8, "big") + time.to_bytes(8, "big") + sha256(value).digest())
            digest.update(bytes([outcome]))
        assert header.log_digest == digest.digest()
        admitted = [(offset, time) for offset, (time, _, outcome) in rows if outcome is Outcome.ADMITTED]
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
        sequence, last_id = self.model.last.get(-1, (0, ZERO))
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
        # The extension of the model comes first: the log is only told what is expected of it.
        self.feed(value, self.model.expect(sent, self.now))

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
        raw = sender.packet([len(self.log)], time_ms=time, sequence=number)
        if not good:
            raw = raw[:-1] + bytes([raw[-1] ^ 1])
        sent = Sent("packet", site, key, number, previous, packet_id(raw), time, epoch, good)
        self.submit(avro.frame(PACKET_SCHEMA, raw), sent)

    @rule(back=st.integers(0, 30))
    def replay(self, back: int) -> None:
        """Send an old value again: packet or control record, let in then or not."""
        if self.sent:
            value, sent = self.sent[-1 - back % len(self.sent)]
            self.feed(value, self.model.expect(sent, self.now))

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
            self.seen = self.replica.head.next_offset
        for time, value, outcome in self.log[self.seen :]:
            parsed = parse_value(value)
            assert judge(self.shadow, parsed, time) is outcome
            if outcome is Outcome.ADMITTED and not isinstance(parsed, Outcome):
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
        replica = self.world.state()
        for derived, certified in zip(self.blocks, self.certified, strict=True):
            deriver = Deriver(ChainState(self.world.genesis, deepcopy(replica.tables), replica.head))
            source, found = derived.block.header.source, list[Derived]()
            for offset in range(source.first, min(source.next + 1, len(self.log))):
                time, value, _ = self.log[offset]
                found += deriver.feed(LogRecord(offset, time, value), parse_value(value)).closed
            found += deriver.close() if not found else ()
            assert found[0].block.encoded == derived.block.encoded
            assert found[0].checkpoint == derived.checkpoint
            assert isinstance(extend(replica, certified), Extended)


ChainMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestChain = ChainMachine.TestCase
