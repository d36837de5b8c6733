"""The exporter writes what the blocks say, resumes from any point, and never signs what it should not."""

import asyncio
import os
from collections.abc import Collection, Iterable
from errno import ENOSPC
from io import BytesIO
from pathlib import Path

import fastavro
import pytest

from pipeline.adapters.block_container import BlockContainer
from pipeline.adapters.sql.export_store import SqlExportStore
from pipeline.adapters.tile_files import TileFiles
from pipeline.core.checkpoint import Checkpoint, parse_checkpoint
from pipeline.core.control import Nodes
from pipeline.core.errors import ConfigError, IntegrityError, TransientError
from pipeline.core.keys import Use
from pipeline.core.note import open_note, parse_note
from pipeline.core.policy_file import log_verifier, policy_text
from pipeline.core.quorum import Certified, NodeKey, Policy, check_certificate
from pipeline.core.replica import Extended, extend
from pipeline.core.signing import Ed25519Signer
from pipeline.core.tiles import TileId, decode_bundle, tiles_of
from pipeline.core.tlog_policy import PolicyRefusal, TlogPolicy, Witnessed, check_note, parse_policy
from pipeline.services.export_sink import leaves_of
from pipeline.services.exporter import ExportParts, ExportWorker
from pipeline.services.follower import Follower, follow_to_end
from tests.support.chain import Chain, MemoryReader, MemoryTopic
from tests.support.tiles import exported_files, exporter, write_log
from tests.support.world import World, control_value, secret


class CrashError(Exception):
    """The process ends here."""


class CrashingFiles(TileFiles):
    """Files whose n-th call ends the process, before or after it did its work."""

    def __init__(self, folder: Path, crash_at: int) -> None:
        super().__init__(folder)
        self._left = crash_at

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise CrashError

    def write(self, tiles: Iterable[tuple[TileId, bytes]]) -> None:
        for tile in tiles:
            self._count()
            super().write([tile])

    def write_checkpoint(self, note: bytes) -> None:
        self._count()
        super().write_checkpoint(note)
        self._count()

    def prune(self, kept: Collection[str] = ()) -> None:
        self._count()
        super().prune(kept)


class Case:
    """A chain of some 300 leaves in six blocks, so that a tile fills on the way."""

    def __init__(self) -> None:
        self.chain = Chain()
        sites = [self.chain.world.site(i) for i in (1, 2)]
        self.chain.enrol(*sites)
        for _ in range(5):
            self.chain.packets(*(site.packet([1]) for site in sites for _ in range(30)))
        self.certified = self.chain.certified
        self.world = self.chain.world
        self.size = self.chain.blocks[-1].block.header.tree_size

    def topic(self, blocks: int | None = None) -> MemoryTopic:
        topic = MemoryTopic()
        topic.publish(self.certified[:blocks])
        return topic


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


async def export(worker: ExportWorker) -> None:
    try:
        await worker.open()
        await follow_to_end(worker.follower)
    finally:
        await worker.close()


async def exported(case: Case, folder: Path, blocks: int | None = None) -> dict[str, bytes]:
    await export(exporter(folder, case.world, case.topic(blocks)))
    return exported_files(folder)


def checkpoint_of(note: bytes) -> Checkpoint:
    parsed = parse_note(note)
    assert not isinstance(parsed, str)
    found = parse_checkpoint(parsed.text)
    assert isinstance(found, Checkpoint)
    return found


async def test_the_tree_of_the_export_is_the_tree_of_the_blocks(case: Case, tmp_path: Path) -> None:
    files = await exported(case, tmp_path)
    assert case.size > 256
    assert files.keys() == {"checkpoint", *(tile.path for tile in tiles_of(case.size))}
    bundles = [decode_bundle(files[tile.path]) for tile in tiles_of(case.size) if tile.level == -1]
    state, leaves = case.world.state(), list[bytes]()
    for data in case.certified:
        extended = extend(state, data)
        assert isinstance(extended, Extended)
        leaves += leaves_of(extended)
    assert [entry for bundle in bundles for entry in bundle or ()] == leaves
    found = checkpoint_of(files["checkpoint"])
    assert (found.size, found.root) == (case.size, state.head.frontier.root())


async def test_the_checkpoint_has_the_log_signature_and_a_quorum_of_cosignatures(
    case: Case, tmp_path: Path
) -> None:
    note = (await exported(case, tmp_path))["checkpoint"]
    genesis = case.world.genesis
    assert not isinstance(open_note(note, [log_verifier(genesis)]), str)
    assert isinstance(check_certificate(note, genesis.origin, genesis.policy), Certified)


async def test_a_crash_at_any_write_leaves_an_export_that_goes_on(case: Case, tmp_path: Path) -> None:
    wanted = await exported(case, tmp_path / "whole")
    crashes, done = 0, False
    while not done:
        folder = tmp_path / str(crashes)
        await exported(case, folder, 2)
        files = CrashingFiles(folder, crashes)
        try:
            await export(exporter(folder, case.world, case.topic(), files))
            done = True
        except CrashError:
            crashes += 1
            left = exported_files(folder)
            size = checkpoint_of(left["checkpoint"]).size
            assert {tile.path for tile in tiles_of(size)} <= left.keys()
        assert (await exported(case, folder)).items() >= wanted.items()
    assert crashes > 6


async def test_partial_forms_go_when_the_full_one_is_there(case: Case, tmp_path: Path) -> None:
    for blocks in range(1, len(case.certified) + 1):
        files = await exported(case, tmp_path, blocks)
    assert [place for place in files if place.startswith("tile/0/000.p")] == []
    assert "tile/1/000.p/1" in files


@pytest.mark.parametrize("damage", ["gone", "short", "flipped"])
@pytest.mark.parametrize("number", range(3))
async def test_a_damaged_edge_is_written_again(case: Case, tmp_path: Path, damage: str, number: int) -> None:
    wanted = await exported(case, tmp_path)
    edge = [tile for tile in tiles_of(case.size) if not tile.is_full]
    path = tmp_path / edge[number].path
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "short" else content[:-1] + bytes((content[-1] ^ 1,)))
    assert await exported(case, tmp_path) == wanted


@pytest.mark.parametrize("note", [b"", b"no note"])
async def test_a_lost_checkpoint_is_put_back(case: Case, tmp_path: Path, note: bytes) -> None:
    wanted = await exported(case, tmp_path)
    (tmp_path / "checkpoint").write_bytes(note)
    assert await exported(case, tmp_path) == wanted


async def test_an_older_checkpoint_never_replaces_a_newer_one(case: Case, tmp_path: Path) -> None:
    wanted = await exported(case, tmp_path)
    for file in (tmp_path / ".state").iterdir():
        file.unlink()
    assert (await exported(case, tmp_path, 3))["checkpoint"] == wanted["checkpoint"]


async def test_an_export_of_another_history_halts_the_exporter(case: Case, tmp_path: Path) -> None:
    other = Chain()
    other.enrol(other.world.site(1))
    other.packets(other.world.site(1).packet([5]))
    topic = MemoryTopic()
    topic.publish(other.certified)
    await export(exporter(tmp_path, other.world, topic))
    before = exported_files(tmp_path)["checkpoint"]
    for file in (tmp_path / ".state").iterdir():
        file.unlink()
    with pytest.raises(IntegrityError) as halted:
        await exported(case, tmp_path)
    assert halted.value.code == "export_fork"
    assert exported_files(tmp_path)["checkpoint"] == before


async def test_a_block_without_a_quorum_is_not_exported(case: Case, tmp_path: Path) -> None:
    topic = case.topic(1)
    topic.publish([case.world.certified(case.chain.blocks[1], ["node-0", "node-1"])])
    await export(exporter(tmp_path, case.world, topic))
    files = exported_files(tmp_path)
    assert checkpoint_of(files["checkpoint"]).size == case.chain.blocks[0].block.header.tree_size


async def test_any_other_key_than_the_log_key_is_refused(case: Case, tmp_path: Path) -> None:
    store = SqlExportStore(tmp_path / ".state", case.world.genesis)
    reader = MemoryReader(case.topic())
    parts = ExportParts(case.world.genesis, case.world.registrar, reader, TileFiles(tmp_path), store)
    with pytest.raises(ConfigError, match="log key"):
        ExportWorker(parts)
    store.close()


def test_one_process_at_a_time_has_an_export(case: Case, tmp_path: Path) -> None:
    first = SqlExportStore(tmp_path, case.world.genesis)
    with pytest.raises(ConfigError) as refused:
        SqlExportStore(tmp_path, case.world.genesis)
    assert refused.value.code == "folder_in_use"
    first.close()


async def test_a_folder_with_another_log_is_left_alone(case: Case, tmp_path: Path) -> None:
    write_log(tmp_path, 3)
    before = exported_files(tmp_path)
    with pytest.raises(ConfigError) as refused:
        await exported(case, tmp_path)
    assert refused.value.code == "other_chain"
    assert exported_files(tmp_path) == before


def test_a_write_that_fails_leaves_nothing_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int) -> None:
        raise OSError(ENOSPC, "No space left on device")

    files, tile = TileFiles(tmp_path), TileId(0, 0)
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(TransientError, match="No space"):
            files.write([(tile, bytes(32 * 256))])
    assert not (tmp_path / tile.path).exists()
    files.write([(tile, bytes(32 * 256))])
    assert (tmp_path / tile.path).read_bytes() == bytes(32 * 256)


def test_a_disk_that_refuses_is_a_passing_fault(tmp_path: Path) -> None:
    (tmp_path / "tile").write_bytes(b"a file where the folder should be")
    with pytest.raises(TransientError):
        TileFiles(tmp_path).write([(TileId(0, 0, 1), bytes(32))])


def blocks_file(case: Case, path: Path, world: World) -> int:
    container = BlockContainer(path, world.genesis)

    async def follow() -> None:
        await follow_to_end(Follower(world.genesis, MemoryReader(case.topic()), container))

    try:
        asyncio.run(follow())
        return container.finish()
    finally:
        container.discard()


def test_any_avro_tool_reads_the_container_of_blocks(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "blocks.avro"
    assert blocks_file(case, path, case.world) == len(case.certified)
    reader = fastavro.reader(BytesIO(path.read_bytes()))
    out = []
    for record in reader:
        body = BytesIO()
        fastavro.schemaless_writer(body, reader.writer_schema, record)
        out.append(body.getvalue())
    assert out == case.certified
    assert [file.name for file in tmp_path.iterdir()] == ["blocks.avro"]


def test_the_container_of_the_same_blocks_has_the_same_bytes(case: Case, tmp_path: Path) -> None:
    for name in ("one", "two"):
        blocks_file(case, tmp_path / name, case.world)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_container_that_cannot_be_written_is_a_mistake_of_the_user(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't write"):
        blocks_file(case, tmp_path / "missing" / "blocks.avro", case.world)


async def test_the_policy_beside_the_checkpoint_is_of_the_nodes_in_force(tmp_path: Path) -> None:
    """A checkpoint after a change of nodes holds under the new policy, not under the one of the genesis file."""
    chain = Chain()
    world, site = chain.world, chain.world.site(1)
    chain.enrol(site)
    lost = world.node_signers["node-3"]
    renewed = Ed25519Signer(secret("new key of node-3"), Use.NODE)
    keys = (*world.genesis.policy.nodes[:3], NodeKey("node-3", renewed.public.raw))
    chain.add(control_value(world.by_roots(chain.deriver.state, Nodes(Policy(keys, 3)))))
    names = ["node-1", "node-2", "node-3"]
    blocks = [world.certified(derived, names) for derived in chain.blocks]
    chain.packets(site.packet([1]))
    world.node_signers["node-3"] = renewed
    blocks.append(world.certified(chain.blocks[-1], names))
    assert lost.public != renewed.public
    topic, texts = MemoryTopic(), []
    for published in (blocks[:2], blocks[2:]):
        topic.publish(published)
        worker = exporter(tmp_path, world, topic)
        await follow_to_end(worker.follower)
        await worker.close()
        file = tmp_path / "policy.txt"
        texts.append(file.read_bytes() if file.exists() else policy_text(world.genesis).encode())
        policy = parse_policy(texts[-1])
        assert isinstance(policy, TlogPolicy)
        note = (tmp_path / "checkpoint").read_bytes()
        assert isinstance(check_note(policy, note), Witnessed)
    first = parse_policy(texts[0])
    assert isinstance(first, TlogPolicy)
    assert isinstance(check_note(first, note), PolicyRefusal)
