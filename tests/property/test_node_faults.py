"""However accounting nodes are broken and started again, the chain is what the chain log says, once, on all nodes.

The nodes and their folders are real; topics, Redis and time are simulated. Any write of a node may fail, with or
without having persisted, or be its last. Records come twice, late and long after others. Folders and Redis are lost
or put back from old copies. Meanwhile no node signs two blocks at one height, and what is published is what one
undisturbed run over the log gives; when the faults end, all of it is published and every node holds it.
"""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.core.admission import TICK_VALUE
from pipeline.core.block import certified_body, encode_certified, make_block, parse_certified
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.control import Revoke
from pipeline.core.quorum import Certified, check_certificate
from pipeline.core.replica import BlockReason, Extended, extend
from pipeline.ports import LedgerHead, Outgoing
from pipeline.services.accounting.votes import genuine_lines, parse_vote
from tests.property.effort import examples, is_thorough
from tests.support.simulated_kafka import Delivery
from tests.support.simulated_nodes import Cluster
from tests.support.simulated_redis import LedgerKeys
from tests.support.world import World, control_value, packet_value, secret
from tests.support.write_faults import WriteFault

NODES = st.integers(0, 3)
RECOVERY_S = 240
"""Simulated seconds within which everything has to be right again."""
SMALL = {
    "pipeline.services.accounting.publishing._TRIM_EVERY": 3,
    "pipeline.services.accounting.publishing._MARGIN_BLOCKS": 1,
    "pipeline.services.accounting.publishing.KEPT_BLOCKS": 4,
    "pipeline.services.accounting.startup.KEPT_BLOCKS": 4,
    "pipeline.services.accounting.deriving._MAX_AHEAD_BLOCKS": 6,
}
"""Sizes that a short chain reaches, too."""


class NodeFaults(RuleBasedStateMachine):
    """Four nodes, every fault."""

    @initialize(both_keys=st.booleans())
    def begin(self, both_keys: bool) -> None:
        self.patches = [mock.patch(name, value) for name, value in SMALL.items()]
        for patch in self.patches:
            patch.start()
        self.cluster = Cluster(World(mldsa44=both_keys))
        self.world = self.cluster.world
        self.sites = [self.world.site(number) for number in range(2)]
        self.copies: list[tuple[str, Path]] = []
        self.backups: list[LedgerKeys] = []
        self.signed: dict[tuple[str, int], tuple[int, bytes]] = {}
        self.seen_votes = self.seen_blocks = 0
        self.shown, self.published = self.world.state(), 0
        self.send(*(control_value(raw) for site in self.sites for raw in self.world.enrolment(site)))
        for name in self.cluster.names:
            self.cluster.start(name)
        self.cluster.run_for(2)

    def send(self, *values: bytes) -> None:
        """Append values to the chain log, as a validator does."""
        topic = self.cluster.topics.chain
        self.cluster.broker.append([Outgoing(topic, value) for value in values])

    def name(self, number: int) -> str:
        """Return a node's name."""
        return self.cluster.names[number]

    @rule(site=st.integers(0, 1), count=st.integers(1, 3))
    def packets(self, site: int, count: int) -> None:
        now = self.cluster.broker.now_ms()
        self.send(*(packet_value(self.sites[site].packet([i], time_ms=now)) for i in range(count)))

    @rule(periods=st.integers(2, 6))
    def traffic(self, periods: int) -> None:
        for period in range(periods):
            self.packets(period % 2, 1)
            self.cluster.run_for(1)

    @rule(back=st.integers(1, 40))
    def repeat_in_the_log(self, back: int) -> None:
        records = self.cluster.broker.topic(self.cluster.topics.chain).records
        self.send(records[-back % len(records)].value or b"")

    @rule(value=st.sampled_from([b"", b"\1garbage", TICK_VALUE, TICK_VALUE + b"\0"]))
    def garbage(self, value: bytes) -> None:
        self.send(value)

    @rule(again=st.booleans())
    def revoke_and_enrol(self, again: bool) -> None:
        site = self.sites[1]
        key = site.signer.public.fingerprint
        revoked = self.world.control(Revoke(site.name, key, "test"))
        self.send(control_value(revoked), *map(control_value, self.world.enrolment(site) if again else []))

    @rule(skew_ms=st.sampled_from([0, 0, 700, 5000, -1500, -60_000]))
    def clock_of_the_broker(self, skew_ms: int) -> None:
        self.cluster.broker.skew_ms = skew_ms

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.1, 2.5, 6.0, 12.0]))
    def time_passes(self, seconds: float) -> None:
        self.cluster.run_for(seconds)

    @rule(limit=st.sampled_from([1, 2, 2000]))
    def readers_get_at_most(self, limit: int) -> None:
        self.cluster.broker.fetch_limit = limit

    @rule(number=NODES, writes=st.integers(1, 14), fault=st.sampled_from(WriteFault))
    def light(self, number: int, writes: int, fault: WriteFault) -> None:
        found = self.cluster.running.get(self.name(number))
        if found is not None:
            found.process.light(writes, fault)

    @rule(delivery=st.sampled_from(Delivery), count=st.integers(1, 6))
    def next_batches(self, delivery: Delivery, count: int) -> None:
        self.cluster.deliveries = [delivery] * count

    @precondition(lambda self: self.cluster.broker.late)
    @rule(count=st.integers(1, 4))
    def late_arrival(self, count: int) -> None:
        self.cluster.broker.deliver_late(count)

    @rule(back=st.integers(1, 30), topic=st.sampled_from(["blocks", "cosignatures"]))
    def repeat_of_an_old_record(self, back: int, topic: str) -> None:
        found = self.cluster.broker.topic(getattr(self.cluster.topics, topic))
        if found.records:
            record = found.records[-back % len(found.records)]
            self.cluster.broker.append([Outgoing(found.name, record.value, record.key)])

    @rule(number=NODES)
    def cut_off(self, number: int) -> None:
        found = self.cluster.running.get(self.name(number))
        if found is not None:
            found.process.is_cut_off = not found.process.is_cut_off

    @rule(number=NODES, periods=st.integers(0, 3))
    def kill_or_start(self, number: int, periods: int) -> None:
        name = self.name(number)
        if name in self.cluster.running:
            self.cluster.kill(name)
        else:
            self.cluster.start(name)
        self.traffic(periods)

    @rule(number=NODES)
    def copy_folder(self, number: int) -> None:
        self.copies.append((self.name(number), self.cluster.copy_folder(self.name(number))))

    @rule(number=NODES, data=st.data())
    def put_back_a_folder(self, number: int, data: st.DataObject) -> None:
        name = self.name(number)
        copies = [copy for whose, copy in self.copies if whose == name]
        copy = data.draw(st.sampled_from([None, *copies]))
        if name in self.cluster.running:
            self.cluster.kill(name)
        self.cluster.put_folder(name, copy)
        self.cluster.start(name)

    @rule()
    def back_up_redis(self) -> None:
        self.backups.append(self.cluster.redis.copy())

    @rule(data=st.data())
    def put_back_redis(self, data: st.DataObject) -> None:
        self.cluster.redis.put(data.draw(st.sampled_from([LedgerKeys(), *self.backups])))

    @rule(ahead=st.integers(-1, 2), known=st.booleans())
    def forge_redis(self, ahead: int, known: bool) -> None:
        """Put another block, which one node alone signed, in the place of a real one, or something at all."""
        derived = self.cluster.derive()
        height = max(1, self.published + ahead)
        forged = b"no block"
        if known and derived:
            real = derived[min(height, len(derived)) - 1].block
            block = make_block(replace(real.header, height=height, part=9), real.entries)
            lie = Checkpoint(self.world.genesis.origin, block.header.tree_size, secret("lie"))
            forged = encode_certified(block, self.world.certificate(lie, ["node-0"]))
            head = LedgerHead(height, block.hash, height)
        else:
            head = LedgerHead(height, secret("forged"), height)
        self.cluster.redis.put(LedgerKeys(head, {height: forged}))

    @precondition(lambda self: self.published)
    @rule(before=st.lists(st.sampled_from([b"", b"\1garbage", TICK_VALUE]), max_size=3))
    def lose_the_chain_log(self, before: list[bytes]) -> None:
        """All of it is published; root keys let the chain go on in an empty one, whose offsets begin again."""
        self.end_all_faults()
        for name in list(self.cluster.running):
            self.cluster.kill(name)
        self.cluster.replace_log(before, control_value(self.world.reanchor(self.cluster.state)))
        for name in self.cluster.names:
            self.cluster.start(name)

    @invariant()
    def nobody_signs_two_blocks_at_one_height(self) -> None:
        genesis = self.world.genesis
        records = self.cluster.broker.topic(self.cluster.topics.cosignatures).records
        for record in records[self.seen_votes :]:
            vote = parse_vote(genesis.chain, record.value)
            assert vote is not None
            assert genuine_lines(genesis.origin, genesis.policy, vote)
            tree = (vote.tree_size, vote.root)
            assert self.signed.setdefault((vote.node, vote.height), tree) == tree
        self.seen_votes = len(records)

    @invariant()
    def what_is_published_is_what_the_log_says(self) -> None:
        derived = self.cluster.derive()
        records = self.cluster.broker.topic(self.cluster.topics.blocks).records
        for record in records[self.seen_blocks :]:
            body = certified_body(record.value)
            parsed = parse_certified(body)
            assert parsed is not None
            expected = derived[parsed[0].header.height - 1]
            assert parsed[0].encoded == expected.block.encoded
            found = check_certificate(parsed[1], self.world.genesis.origin, self.world.genesis.policy)
            assert isinstance(found, Certified)
            assert found.checkpoint == expected.checkpoint
            result = extend(self.shown, body)
            assert isinstance(result, Extended) or result.reason is BlockReason.REPEAT, result
            self.published = self.shown.head.height
        self.seen_blocks = len(records)

    def teardown(self) -> None:
        if not hasattr(self, "cluster"):
            return
        try:
            self.end_all_faults()
            self._compare()
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        """Let everything go that ``begin`` made."""
        self.cluster.close()
        for patch in self.patches:
            patch.stop()

    def end_all_faults(self) -> None:
        """End all faults, and wait until everything in the log is published and held by every node."""
        cluster = self.cluster
        cluster.deliveries, cluster.broker.fetch_limit = [], 2000
        cluster.broker.deliver_late(len(cluster.broker.late))
        for _ in range(RECOVERY_S):
            for name in cluster.names:
                if name not in cluster.running:
                    cluster.start(name)
                cluster.running[name].process.put_out()
            cluster.run_for(1)
            self.nobody_signs_two_blocks_at_one_height()
            self.what_is_published_is_what_the_log_says()
            if self._is_done():
                return
        raise AssertionError(f"not recovered: published {self.published} of {len(cluster.reference)}")

    def _is_done(self) -> bool:
        cluster = self.cluster
        height = len(cluster.derive())
        if cluster.has_open_entries or self.published < height or len(cluster.running) < len(cluster.names):
            return False
        head = cluster.redis.head
        stores = [found.store.load(self.world.genesis) for found in cluster.running.values()]
        return (
            all(stored.published == height and stored.tail for stored in stores)
            and head is not None
            and (head.height, head.published) == (height, height)
        )

    def _compare(self) -> None:
        """Compare blocks, states, folders and Redis with one undisturbed run over the log."""
        last = self.cluster.reference[-1]
        assert self.shown.tables == self.cluster.state.tables
        head = self.cluster.redis.head
        assert head is not None
        assert head.block_hash == last.block.hash
        for found in self.cluster.running.values():
            stored = found.store.load(self.world.genesis)
            state = stored.state
            for held in stored.tail:
                assert isinstance(extend(state, held.certified), Extended)
            assert state.tables == self.shown.tables
            assert state.head == self.shown.head


TestNodeFaults = NodeFaults.TestCase
TestNodeFaults.settings = settings(
    max_examples=examples(10),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("fault", list(WriteFault) if is_thorough() else [WriteFault.CRASH_AFTER])
def test_a_fault_at_any_write_of_a_node_that_is_needed_passes(fault: WriteFault) -> None:
    """Three of four nodes run, so nothing is committed without the one whose writes fail in turn."""
    write, hits, failed = 1, 0, True
    while failed:
        machine = NodeFaults()
        machine.begin(both_keys=False)
        try:
            machine.kill_or_start(3, 0)
            process = machine.cluster.running["node-0"].process
            process.light(write, fault)
            machine.traffic(3)
            failed = not process.is_lit
            machine.end_all_faults()
            machine._compare()
        finally:
            machine.clean_up()
        write += 1 if is_thorough() else 13
        hits += failed
    assert hits > (13 if is_thorough() else 1)


def test_redis_hears_again_what_is_published_where_the_publisher_could_not_say_so() -> None:
    machine = NodeFaults()
    machine.begin(both_keys=False)
    try:
        machine.end_all_faults()
        redis = machine.cluster.redis
        assert redis.head is not None
        redis.head = replace(redis.head, published=0)
        machine.cluster.run_for(5)
        assert redis.head.published == redis.head.height == 1
    finally:
        machine.clean_up()
