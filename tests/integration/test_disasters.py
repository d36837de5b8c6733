"""Kafka lost, whole or in part: what is certified comes back, root keys let the chain go on, nobody signs a fork."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.block_folder import block_file
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer
from pipeline.adapters.keystore import save_key
from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.apps.ledger_restore import Sources, append_reanchor, restore_blocks
from pipeline.config import load_settings
from pipeline.core.block import parse_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.errors import IntegrityError
from pipeline.core.packet import Packet
from pipeline.core.replica import Extended, extend
from pipeline.core.state import ChainState
from pipeline.core.topics import Topics
from pipeline.ports import SignedBlock
from pipeline.services.accounting.votes import Candidate, vote_message
from tests.support.commands import Ended, bkdms, settings_file
from tests.support.nodes import ChainRig, chain_rig
from tests.support.outage_consumers import PlatformRig
from tests.support.world import TestSite, control_value, packet_value

pytestmark = [pytest.mark.stack, pytest.mark.faults]


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """A stack of this module's own, whose Kafka may lose everything."""
    with EmbeddedStack(tmp_path_factory.mktemp("disasters"), is_short_lived=True) as running:
        yield running


@pytest.fixture
async def rig(
    own_stack: EmbeddedStack, unique_name: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[ChainRig]:
    """A fresh chain with no node running."""
    topics = Topics(f"{unique_name('d')}.")
    own_stack.add_topics(topics)
    async with chain_rig(own_stack, topics, tmp_path) as opened:
        yield opened


async def lose(rig: ChainRig, *topics: str) -> None:
    """Let Kafka start again without these topics' records; without anything where none is named."""
    await rig.producer.close()
    await asyncio.to_thread(rig.stack.stop)
    data = rig.stack.data_dir / "kafka" / "data"
    for folder in [data / f"{topic}-0" for topic in topics] or [data]:
        shutil.rmtree(folder)
    await asyncio.to_thread(rig.stack.start)
    rig.producer = IdempotentProducer(rig.connection("node", "rig"))


def start_nodes(rig: ChainRig, *numbers: int) -> None:
    for number in numbers or range(len(rig.world.node_signers)):
        rig.start_node(f"node-{number}")


async def stop_nodes(rig: ChainRig) -> None:
    for name in list(rig.tasks):
        await rig.stop_node(name)


async def halted(rig: ChainRig, name: str) -> IntegrityError:
    """Start a node and return why it halts."""
    rig.start_node(name)
    with pytest.raises(IntegrityError) as error:
        await rig.until(lambda: False)
    await rig.stop_node(name)
    return error.value


def packet(site: TestSite, value: int) -> bytes:
    return packet_value(site.packet([value], time_ms=SystemClock().now_ms()))


async def grow(rig: ChainRig, site: TestSite, height: int) -> None:
    """Let the nodes publish blocks up to a height, one packet each."""
    head = await rig.ledger().head()
    for at in range((head.height if head else 0) + 1, height + 1):
        await rig.send([packet(site, at)])
        await rig.until_published(at)


async def enrol(rig: ChainRig) -> TestSite:
    site = rig.world.site(1)
    await rig.send([control_value(raw) for raw in rig.world.enrolment(site)])
    await rig.until_published(1)
    return site


async def replica(rig: ChainRig) -> tuple[ChainState, list[int]]:
    """Return the verified state after the blocks topic, and the sequences of the packets in it, in order."""
    state, sequences = rig.world.state(), []
    for block in await rig.blocks():
        result = extend(state, block.certified)
        if isinstance(result, Extended):
            sequences += [item.sequence for item in result.admitted if isinstance(item, Packet)]
    return state, sequences


async def ledger(rig: ChainRig, *arguments: str | Path) -> Ended:
    settings = settings_file(rig, rig.folder / "command", "node")
    return await bkdms(settings, *map(str, arguments))


def node_folders(rig: ChainRig, *numbers: int) -> list[str]:
    return [text for number in numbers for text in ("--node", str(rig.folder / f"node-{number}"))]


def root_keys(rig: ChainRig, *numbers: int) -> list[str]:
    """Return the options that name root keys, whose files are made where missing."""
    options = []
    for number in numbers:
        path = rig.folder / f"root-{number}.json"
        if not path.exists():
            save_key(path, rig.world.roots[number])
        options += ["--root-key", str(path)]
    return options


async def test_a_wiped_kafka_is_filled_again_and_sealing_goes_on(rig: ChainRig) -> None:
    """From an old export and the nodes' folders; what was in no block yet comes again from the sites."""
    start_nodes(rig)
    site = await enrol(rig)
    platform = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, rig.topics, rig.folder)
    platform.give_key(site)
    await platform.start()
    await grow(rig, site, 3)
    exported = rig.folder / "exported"
    exported.mkdir()
    for block in await rig.blocks():
        block_file(exported, block.height).write_bytes(block.certified)
    await grow(rig, site, 5)
    await rig.until(lambda: len(platform.rows("SELECT 1 FROM kpi_records")) == 4)
    await stop_nodes(rig)
    lost = [packet(site, 6), packet(site, 7)]
    await rig.send(lost)
    (alone,) = await signed_by(rig, 3)
    await platform.close()
    before = await rig.blocks()
    await lose(rig)

    found = await halted(rig, "node-0")
    assert (found.code, "'bkdms ledger restore'" in str(found)) == ("blocks_topic_cut", True)
    folders = node_folders(rig, 0, 1, 2, 3)
    ended = await ledger(rig, "ledger", "restore", "--blocks", exported, *folders, "--json")
    assert ended.code == 0, ended.err
    unfinished = {"height": 6, "block_hash": alone.block_hash.hex(), "nodes": ["node-3"]}
    assert json.loads(ended.out) == {
        "found": 0, "height": 5, "completed": [], "unfinished": [unfinished], "problems": []
    }  # fmt: skip
    assert [block.certified for block in await rig.blocks()] == [block.certified for block in before]

    found = await halted(rig, "node-0")
    assert (found.code, "'bkdms ledger reanchor'" in str(found)) == ("log_differs", True)
    ended = await ledger(rig, "ledger", "reanchor", *root_keys(rig, 0, 2))
    assert (ended.code, "goes on after block 5, in incarnation 2" in ended.err) == (0, True), ended.err

    found = await halted(rig, "node-3")
    assert (found.code, "signs no fork" in str(found)) == ("second_signature", True)
    start_nodes(rig, 0, 1, 2)
    await rig.until_published(6)
    rig.start_node("node-3")
    await rig.stop_node("node-0")
    await rig.send(lost)
    await rig.until_published(7)
    await grow(rig, site, 8)
    state, sequences = await replica(rig)
    assert (state.head.height, state.head.incarnation) == (8, 2)
    assert sequences == list(range(1, 8))
    ended = await bkdms(settings_file(rig, rig.folder / "audit", "auditor"), "verify", "--json")
    assert (ended.code, json.loads(ended.out)["audit_ok"]) == (0, True), ended.out + ended.err
    after = PlatformRig(rig.connection("platform", "p"), rig.world.genesis, rig.topics, rig.folder)
    await after.start()
    await rig.until(lambda: len(after.rows("SELECT 1 FROM kpi_records")) == 7)
    assert after.is_running
    await after.close()


async def test_a_chain_log_that_was_cut_and_regrew_halts_until_root_keys_reanchor(rig: ChainRig) -> None:
    start_nodes(rig)
    site = await enrol(rig)
    await grow(rig, site, 3)
    await stop_nodes(rig)
    await lose(rig, rig.topics.chain)
    regrown = [packet(site, value) for value in range(12)]
    await rig.send(regrown)
    found = await halted(rig, "node-0")
    assert (found.code, "'bkdms ledger reanchor'" in str(found)) == ("log_differs", True)
    ended = await ledger(rig, "ledger", "reanchor", *root_keys(rig, 1))
    assert (ended.code, "nothing was written" in ended.err) == (1, True), ended.err
    assert (await halted(rig, "node-1")).code == "log_differs"
    ended = await ledger(rig, "ledger", "reanchor", *root_keys(rig, 1, 2))
    assert ended.code == 0, ended.err
    start_nodes(rig)
    await rig.until_published(4)
    await rig.send(regrown)
    await rig.until_published(5)
    await stop_nodes(rig)
    start_nodes(rig)
    await grow(rig, site, 6)
    state, sequences = await replica(rig)
    assert (state.head.incarnation, sequences) == (2, list(range(1, 16)))


async def signed_by(rig: ChainRig, *numbers: int) -> list[SignedBlock]:
    """Let nodes sign what the log holds, too few to certify it; return one record each."""
    known = len(await rig.read(rig.topics.cosignatures))
    start_nodes(rig, *numbers)

    async def all_voted() -> bool:
        return len(await rig.read(rig.topics.cosignatures)) >= known + len(numbers)

    await rig.until(all_voted)
    await stop_nodes(rig)
    found = [record for number in numbers for record in signing_records(rig, number)]
    assert len(found) == len(numbers)
    return found


def signing_records(rig: ChainRig, number: int) -> list[SignedBlock]:
    """Return what a node signed above the published blocks."""
    store = SqliteNodeStore(rig.folder / f"node-{number}", rig.world.genesis)
    try:
        return store.signed_above(store.load(rig.world.genesis).published)
    finally:
        store.close()


def sign_too(rig: ChainRig, number: int, record: SignedBlock, state: ChainState) -> None:
    """Let one more node have signed the block of a record, as if it had derived it before Kafka was lost."""
    block = parse_block(record.encoded)
    assert block is not None
    after = state.head.frontier.extend(block.leaf_hashes)
    about = Candidate(
        record.height, block.hash, Checkpoint(rig.world.genesis.origin, after.size, after.root())
    )
    name = f"node-{number}"
    message = vote_message(rig.world.genesis.chain, about, name, rig.world.signers(name), 1)
    store = SqliteNodeStore(rig.folder / name, rig.world.genesis)
    store.record_signed([SignedBlock(record.height, block.hash, message, record.encoded)])
    store.close()


async def test_what_enough_nodes_signed_before_kafka_was_lost_is_completed(rig: ChainRig) -> None:
    """Two of four would block the chain for ever, which is named; with a third the block gets its certificate."""
    start_nodes(rig)
    site = await enrol(rig)
    await grow(rig, site, 2)
    await stop_nodes(rig)
    state, _ = await replica(rig)
    await rig.send([packet(site, 3)])
    records = await signed_by(rig, 0, 1)
    await lose(rig)
    settings = load_settings(settings_file(rig, rig.folder / "command", "node"))
    everything = Sources((), [rig.folder / f"node-{number}" for number in range(4)])
    done = await restore_blocks(settings, everything, lambda _height: None)
    (unfinished,) = done.unfinished
    assert (done.height, unfinished.height, unfinished.nodes) == (2, 3, ("node-0", "node-1"))
    assert unfinished.blocks_the_chain
    sign_too(rig, 2, records[0], state)
    done = await restore_blocks(settings, everything, lambda _height: None)
    assert (done.found, done.height, done.completed, done.unfinished) == (2, 3, (3,), ())
    keys = [rig.folder / f"root-{number}.json" for number in (0, 1)]
    assert root_keys(rig, 0, 1) == [text for key in keys for text in ("--root-key", str(key))]
    assert (await append_reanchor(settings, keys, None)).appended
    start_nodes(rig)
    await rig.until_published(4)
    await grow(rig, site, 5)
    state, sequences = await replica(rig)
    assert (state.head.incarnation, sequences) == (2, [1, 2, 3])
