"""However exporter, platform and view are broken and started again, they hold what an undisturbed run holds.

Files and databases are real. Any write may fail, with or without having persisted, or be the last before a crash or
a power loss. On the blocks topic are repeats with other certificates, forgeries, garbage, and blocks before their
turn. Folders are put back from copies of any age. And whoever looks at the exported folder meanwhile finds every
tile that its checkpoint speaks of.
"""

import shutil
from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.core import avro
from pipeline.core.admission import is_signed
from pipeline.core.block import encode_certified, header_leaf
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint
from pipeline.core.control import Enrol, Revoke, possession_message
from pipeline.core.derive import Derived
from pipeline.core.note import NoteProblem, open_note
from pipeline.core.packet import open_packet
from pipeline.core.policy_file import log_verifier
from pipeline.core.quorum import Certified, check_certificate
from pipeline.core.replica import Extended, extend
from pipeline.core.sealing import SealingKey
from pipeline.core.storage import OBSERVATIONS
from pipeline.core.tiles import Edge, TileId, tiles_of
from tests.property.effort import examples
from tests.support.chain import Chain, MemoryTopic, framed
from tests.support.simulated_consumers import (
    Consumer,
    ExportConsumer,
    PlatformConsumer,
    ViewConsumer,
    platform_rows,
    view_content,
)
from tests.support.simulated_nodes import scratch_folder
from tests.support.simulated_time import InPlaceExecutor, SimulatedLoop
from tests.support.tiles import exported_files
from tests.support.world import TestSite, control_value, packet_value
from tests.support.write_faults import WriteFault

BLOCK_SIZES = {True: (2, 40, 1, 3, 99, 94, 2, 20), False: (2, 40, 1, 3, 99, 120, 2, 1)}
"""Packets in a block: where a block fills the first tile to the end, and where it goes beyond."""
WRITES = {"export": 24, "platform": 4, "view": 20}
"""Consumers, and about how many writes the next few blocks cause them."""
WHO = st.sampled_from(list(WRITES))


class Case:
    """The chain that all examples follow, and what its export has to be after any block."""

    def __init__(self, fills: bool) -> None:
        self.chain = Chain()
        self.world = self.chain.world
        self.sites = [self.world.site(number) for number in (1, 2)]
        self.chain.enrol(*self.sites)
        for number, size in enumerate(BLOCK_SIZES[fills]):
            packets = [packet_value(self._site(i).packet([i, number])) for i in range(size)]
            self.chain.block(*packets)
            if number == 3:
                self.chain.block(*self._bad_content(), *self._new_key(self.sites[1]))
        self.blocks: list[Derived] = self.chain.blocks
        self.keys: dict[bytes, SealingKey] = {
            site.platform_key.public.fingerprint: site.platform_key for site in self.sites
        }
        self.tiles, self.roots = self._export()
        self.sizes = sorted(self.roots)
        assert (256 in self.sizes) is fills

    def _site(self, number: int) -> TestSite:
        return self.sites[number % 2]

    def _bad_content(self) -> list[bytes]:
        site = self.sites[0]
        return [packet_value(site.packet(records=[b"junk"])), packet_value(site.packet([1]))]

    def _new_key(self, site: TestSite) -> list[bytes]:
        public, chain = site.signer.public, self.world.genesis.chain
        possession = site.signer.sign(possession_message(chain, site.name, public.fingerprint))
        terms = ((site.suite,), ("LOCAL:TRAFFIC_SPEED", "LOCAL:OTHER"))
        return [
            control_value(self.world.control(Revoke(site.name, public.fingerprint, "moved"))),
            control_value(
                self.world.control(Enrol(site.name, public.algorithm, public.raw, possession, *terms))
            ),
            packet_value(site.packet([3])),
        ]

    def _export(self) -> tuple[dict[str, bytes], dict[int, bytes]]:
        """Return every tile at every size after a block, by path, and the roots by size."""
        state, edge = self.world.state(), Edge.EMPTY
        tiles: dict[TileId, bytes] = {}
        roots = {}
        for certified in self.chain.certified:
            extended = extend(state, certified)
            assert isinstance(extended, Extended)
            leaves = [*(entry.leaf for entry in extended.block.entries), header_leaf(extended.block.header)]
            edge, filled = edge.grow(leaves)
            tiles |= dict(filled) | dict(edge.partials())
            roots[edge.size] = edge.frontier().root()
        return {tile.path: content for tile, content in tiles.items()}, roots


case = cache(Case)


class _Once:
    """Does a slow pure check of a packet once in all examples: they are thousands, and always the same ones."""

    def __init__(self, check: Callable[..., Any], key_of: Callable[..., Hashable]) -> None:
        self._check, self._key_of = check, key_of
        self._known: dict[Hashable, Any] = {}

    def __call__(self, *args: Any) -> Any:
        key = self._key_of(*args)
        if key not in self._known:
            self._known[key] = self._check(*args)
        return self._known[key]


remembered = _Once(is_signed, lambda key, packet: (key.fingerprint, packet.raw))
opened_once = _Once(open_packet, lambda packet, key: (key.public.fingerprint, packet.raw))


class ConsumerFaults(RuleBasedStateMachine):
    """Three consumers, every fault."""

    @initialize(fills=st.booleans())
    def begin(self, fills: bool) -> None:
        self.patches: list[Any] = [
            mock.patch("pipeline.services.follower.is_signed", remembered),
            mock.patch("pipeline.core.storage.open_packet", opened_once),
            mock.patch("pipeline.adapters.tile_files.ThreadPoolExecutor", InPlaceExecutor),
        ]
        for patch in self.patches:
            patch.start()
        self.case = case(fills)
        self.world = self.case.world
        self.loop = SimulatedLoop()
        self.folder = scratch_folder()
        self.topic = MemoryTopic()
        self.height = 0
        self.copies: list[tuple[str, Path]] = []
        self.shown = 0
        self.consumers = self.made(self.folder / "live")

    def made(self, folder: Path) -> dict[str, Consumer]:
        """Return consumers with empty folders."""
        links = (self.loop, self.world, self.topic)
        return {
            "export": ExportConsumer(*links, folder / "export"),
            "platform": PlatformConsumer(*links, folder / "platform", self.case.keys.get),
            "view": ViewConsumer(*links, folder / "view"),
        }

    def certified(self, height: int, absent: int) -> bytes:
        """Return a block as certified by all nodes but one, or by all."""
        names = [name for i, name in enumerate(self.world.node_signers) if i != absent]
        return framed(self.world.certified(self.case.blocks[height - 1], names))

    @rule(count=st.integers(1, 4), absent=st.integers(0, 4))
    def publish(self, count: int, absent: int) -> None:
        for _ in range(min(count, len(self.case.blocks) - self.height)):
            self.height += 1
            self.topic.values.append(self.certified(self.height, absent))

    @rule(back=st.integers(0, 12), absent=st.integers(0, 4))
    def publish_again(self, back: int, absent: int) -> None:
        if self.height > back:
            self.topic.values.append(self.certified(self.height - back, absent))

    @rule(ahead=st.integers(2, 4), absent=st.integers(0, 4))
    def publish_before_its_turn(self, ahead: int, absent: int) -> None:
        if self.height + ahead <= len(self.case.blocks):
            self.topic.values.append(self.certified(self.height + ahead, absent))

    @rule(
        what=st.sampled_from(["nothing", "garbage", "no quorum", "borrowed certificate", "bad certificate"])
    )
    def forge(self, what: str) -> None:
        if self.height == len(self.case.blocks):
            return
        following = self.case.blocks[self.height]
        previous = self.case.blocks[self.height - 1]
        false = Checkpoint(self.world.genesis.origin, 7, bytes(32))
        forged = {
            "nothing": None,
            "garbage": b"\0garbage",
            "no quorum": framed(self.world.certified(following, ["node-0", "node-1"])),
            "borrowed certificate": framed(
                encode_certified(following.block, self.world.certificate(previous.checkpoint))
            ),
            "bad certificate": framed(
                encode_certified(following.block, self.world.certificate(false, ["node-2"]))
            ),
        }
        self.topic.values.append(forged[what])

    @rule(who=WHO, times=st.integers(1, 3))
    def step(self, who: str, times: int) -> None:
        for _ in range(times):
            self.consumers[who].step()

    @rule(who=WHO, fault=st.sampled_from(WriteFault), count=st.integers(0, 3), data=st.data())
    def step_with_a_fault(self, who: str, fault: WriteFault, count: int, data: st.DataObject) -> None:
        """Publish some blocks and let one of the writes that they cause fail."""
        self.publish(count, 4)
        consumer = self.consumers[who]
        consumer.start()
        assert consumer.process is not None
        consumer.process.light(data.draw(st.integers(1, WRITES[who])), fault)
        consumer.step()

    @rule(who=WHO)
    def kill(self, who: str) -> None:
        self.consumers[who].stop()

    @rule(
        who=st.sampled_from(["export", "view"]),
        fault=st.sampled_from([WriteFault.CRASH_BEFORE, WriteFault.CRASH_AFTER]),
        survives=st.lists(st.booleans(), min_size=1, max_size=6),
        data=st.data(),
    )
    def lose_power(self, who: str, fault: WriteFault, survives: list[bool], data: st.DataObject) -> None:
        self.step_with_a_fault(who, fault, 2, data)
        self.consumers[who].lose_power(survives)

    @rule(who=WHO)
    def copy(self, who: str) -> None:
        copy = self.folder / "copies" / str(len(self.copies))
        shutil.copytree(self.consumers[who].folder, copy)
        self.copies.append((who, copy))

    @rule(who=WHO, data=st.data())
    def put_back(self, who: str, data: st.DataObject) -> None:
        copies = [copy for whose, copy in self.copies if whose == who]
        if copies:
            self.consumers[who].put_back(data.draw(st.sampled_from(copies)))
            self.shown = 0 if who == "export" else self.shown

    @rule(data=st.data())
    def put_back_the_exporters_state_alone(self, data: st.DataObject) -> None:
        copies = [copy for who, copy in self.copies if who == "export" and (copy / ".state").is_dir()]
        if copies:
            consumer = self.consumers["export"]
            consumer.stop()
            shutil.rmtree(consumer.folder / ".state", ignore_errors=True)
            shutil.copytree(data.draw(st.sampled_from(copies)) / ".state", consumer.folder / ".state")

    @invariant()
    def outsiders_find_a_whole_log_that_never_shrinks(self) -> None:
        if not hasattr(self, "consumers"):
            return
        files = exported_files(self.consumers["export"].folder)
        note = files.pop("checkpoint", b"")
        if not note:
            assert not self.shown
            return
        checkpoint = self.opened(note)
        assert self.case.roots[checkpoint.size] == checkpoint.root
        assert checkpoint.size >= self.shown
        self.shown = checkpoint.size
        files = {path: content for path, content in files.items() if not path.startswith(".draft")}
        assert {tile.path for tile in tiles_of(checkpoint.size) if self._is_gone(tile, files)} == set()
        for path, content in files.items():
            assert content == self.case.tiles[path], path

    def _is_gone(self, tile: TileId, files: dict[str, bytes]) -> bool:
        return tile.path not in files and tile.full_path not in files

    def opened(self, note: bytes) -> Checkpoint:
        """Return what a note says that the log and a quorum signed."""
        genesis = self.world.genesis
        opened = open_note(note, [log_verifier(genesis)])
        assert not isinstance(opened, NoteProblem)
        assert isinstance(check_certificate(note, genesis.origin, genesis.policy), Certified)
        checkpoint = parse_checkpoint(opened.text)
        assert isinstance(checkpoint, Checkpoint)
        return checkpoint

    def teardown(self) -> None:
        if not hasattr(self, "consumers"):
            return
        try:
            self.publish(len(self.case.blocks), 0)
            self._compare()
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        """Let everything go that ``begin`` made."""
        for consumer in self.consumers.values():
            consumer.stop()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folder)

    def _compare(self) -> None:
        """Compare everything with consumers that followed the whole topic without a fault."""
        undisturbed = self.made(self.folder / "undisturbed")
        for consumer in [*self.consumers.values(), *undisturbed.values()]:
            consumer.caught_up = False
            consumer.drain()
            consumer.stop()
        self.outsiders_find_a_whole_log_that_never_shrinks()
        live, other = (
            {who: consumer.folder for who, consumer in found.items()}
            for found in (self.consumers, undisturbed)
        )
        assert self.shown == self.case.sizes[-1]
        left, right = exported_files(live["export"]), exported_files(other["export"])
        assert left["checkpoint"] == right["checkpoint"]
        assert platform_rows(live["platform"]) == platform_rows(other["platform"])
        assert view_content(live["view"]) == view_content(other["view"])
        assert self.messages(self.consumers["platform"]) == self.messages(undisturbed["platform"])

    def messages(self, platform: Consumer) -> dict[str, dict[str, Any]]:
        """Return the observations sent, by tracing code; repeats have to be the same."""
        assert isinstance(platform, PlatformConsumer)
        found: dict[str, dict[str, Any]] = {}
        for item in platform.sent:
            message = avro.unframe(OBSERVATIONS, item.value or b"")
            assert message is not None
            assert found.setdefault(message["tracing_code"], message) == message
        return found


TestConsumerFaults = ConsumerFaults.TestCase
TestConsumerFaults.settings = settings(
    max_examples=examples(10),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


SURVIVES = {"nothing": (False,), "only the newest change": (True, *[False] * 99)}


@pytest.mark.parametrize("survives", SURVIVES)
def test_power_loss_after_any_write_of_the_exporter_leaves_a_whole_log(survives: str) -> None:
    """Every write of a batch in turn: what the checkpoint on the disk speaks of is on the disk."""
    machine, write, crashed = ConsumerFaults(), 0, True
    while crashed:
        write += 1
        machine.begin(fills=False)
        try:
            machine.publish(1, 4)
            machine.consumers["export"].step()
            machine.outsiders_find_a_whole_log_that_never_shrinks()
            machine.publish(6, 4)
            export = machine.consumers["export"]
            assert export.process is not None
            export.process.light(write, WriteFault.CRASH_AFTER)
            export.step()
            crashed = export.process is None
            export.lose_power(SURVIVES[survives])
            machine.outsiders_find_a_whole_log_that_never_shrinks()
        finally:
            machine.clean_up()
    assert write > 8
