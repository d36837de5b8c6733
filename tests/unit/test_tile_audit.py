"""Our audit of an exported log names the file that is wrong, whatever was done to it."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.adapters.tile_files import TileFiles
from pipeline.apps.audit_run import AuditOptions, audit_tiles
from pipeline.apps.cli.root import main
from pipeline.core.block import Block, header_leaf, parse_header
from pipeline.core.checkpoint import Checkpoint, sign_as_log
from pipeline.core.merkle import leaf_hash, root_of
from pipeline.core.note import format_note, parse_note
from pipeline.core.tiles import Edge, TileId, encode_bundle, tiles_of
from pipeline.services.audit import Auditor
from pipeline.services.audit_report import AuditReport
from pipeline.services.follower import follow_to_end
from pipeline.services.survey_pool import SurveyPool
from pipeline.services.tile_audit import TileAudit
from tests.support.chain import Chain, MemoryTopic
from tests.support.tiles import exporter, write_log
from tests.support.world import World

WORLD = World()


@pytest.fixture(scope="module")
async def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An exported chain of more than 256 leaves, and how many."""
    folder = tmp_path_factory.mktemp("log")
    chain = Chain(WORLD)
    site = chain.world.site(1)
    chain.enrol(site)
    for _ in range(3):
        chain.packets(*(site.packet([1]) for _ in range(86)))
    topic = MemoryTopic()
    topic.publish(chain.certified)
    worker = exporter(folder, WORLD, topic)
    await follow_to_end(worker.follower)
    await worker.close()
    return folder, chain.blocks[-1].block.header.tree_size


def audited(folder: Path) -> AuditReport:
    return audit_tiles(WORLD.genesis, TileFiles(folder).read, str(folder))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_good_export_passes(log: tuple[Path, int]) -> None:
    report = audited(log[0])
    assert report.finding is None
    assert report.as_json()["tree_size"] == log[1] > 256


def damaged(log: tuple[Path, int], folder: Path, tile: TileId, damage: str) -> AuditReport:
    path = shutil.copytree(log[0], folder) / tile.path
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "long":
        path.write_bytes(path.read_bytes() + bytes(32))
    else:
        flip(path, 0 if damage == "first" else -1)
    return audited(folder)


@pytest.mark.parametrize("damage", ["missing", "short", "long", "first", "last"])
def test_each_damage_to_each_file_is_named(log: tuple[Path, int], tmp_path: Path, damage: str) -> None:
    for number, tile in enumerate(tiles_of(log[1])):
        finding = damaged(log, tmp_path / str(number), tile, damage).finding
        assert finding is not None
        # Flipped hashes of the right edge show as another root only.
        named = finding.source if finding.source != "checkpoint" else finding.detail
        assert tile.path in named


def test_the_bytes_of_a_changed_entry_are_named(log: tuple[Path, int], tmp_path: Path) -> None:
    finding = damaged(log, tmp_path / "log", TileId(-1, 0), "last").finding
    assert finding is not None
    assert "leaf 255, bytes" in finding.detail


def test_a_checkpoint_without_log_signature_or_quorum_is_refused(
    log: tuple[Path, int], tmp_path: Path
) -> None:
    folder = shutil.copytree(log[0], tmp_path / "log")
    note = parse_note((folder / "checkpoint").read_bytes())
    assert not isinstance(note, str)
    for lines in (note.signatures[1:], note.signatures[:3]):
        (folder / "checkpoint").write_bytes(format_note(note.text, lines))
        finding = audited(folder).finding
        assert finding is not None
        assert finding.source == "checkpoint"


def test_a_log_of_somebody_else_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path, 3)
    assert audited(tmp_path).finding is not None


@pytest.mark.parametrize(("damage", "code"), [(False, 0), (True, 1)])
def test_the_command_says_good_or_names_the_file(
    log: tuple[Path, int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: bool,
    code: int,
) -> None:
    folder = shutil.copytree(log[0], tmp_path / "log")
    genesis = tmp_path / "genesis.json"
    genesis.write_bytes(WORLD.genesis.raw)
    if damage:
        (folder / "tile/0/000").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--tiles", str(folder), "--genesis", str(genesis)])
    shown = capsys.readouterr().out
    assert ended.value.code == code
    assert ("BAD  tile/0/000: missing" in shown) is damage


def lied_log(folder: Path, leaves: list[bytes]) -> AuditReport:
    """Audit a log of these leaves, exported and certified as it is."""
    files = TileFiles(folder)
    edge, filled = Edge.EMPTY.grow(leaves)
    files.write(filled)
    files.write(edge.partials())
    checkpoint = Checkpoint(WORLD.genesis.origin, edge.size, edge.frontier().root())
    note = parse_note(WORLD.certificate(checkpoint))
    assert not isinstance(note, str)
    files.write_checkpoint(
        format_note(checkpoint.body(), [sign_as_log(checkpoint, WORLD.log_signer), *note.signatures])
    )
    return audited(folder)


@pytest.fixture(scope="module")
def blocks() -> list[list[bytes]]:
    """The leaves of some blocks, block by block."""
    chain = Chain(World())
    assert chain.world.genesis.chain == WORLD.genesis.chain
    sites = [chain.world.site(1), chain.world.site(2)]
    chain.enrol(*sites)
    for value in range(100):
        chain.packets(*(site.packet([value]) for site in sites))
    return [leaves_of_block(derived.block) for derived in chain.blocks]


def leaves_of_block(block: Block) -> list[bytes]:
    return [*(entry.leaf for entry in block.entries), header_leaf(block.header)]


def start_of(leaves: list[bytes], index: int) -> int:
    """Return where a leaf's bytes start in its bundle."""
    return sum(len(leaf) + 2 for leaf in leaves[index // 256 * 256 : index]) + 2


def test_a_log_that_was_certified_as_it_should_be_is_good(tmp_path: Path, blocks: list[list[bytes]]) -> None:
    report = lied_log(tmp_path, [leaf for block in blocks for leaf in block])
    assert report.is_good, report.finding
    assert (report.blocks, report.packets, report.controls) == (101, 200, 4)
    assert report.certified_by == ("node-0", "node-1", "node-2")


@pytest.mark.parametrize("height", [90, 60])
def test_a_bad_signature_in_a_certified_log_is_named_by_file_entry_and_bytes(
    tmp_path: Path, blocks: list[list[bytes]], height: int
) -> None:
    leaves = [leaf for block in blocks for leaf in block]
    index = sum(map(len, blocks[:height])) + 1
    forged = leaves[index][:-1] + bytes((leaves[index][-1] ^ 1,))
    block = [blocks[height][0], forged, blocks[height][2]]
    header = parse_header(block[2][17:])
    assert header is not None
    root = root_of([leaf_hash(leaf) for leaf in block[:2]])
    leaves[index : index + 2] = [forged, header_leaf(replace(header, entries_root=root))]
    finding = lied_log(tmp_path, leaves).finding
    assert finding is not None
    assert finding.damage is not None
    assert finding.source == TileId(-1, index // 256, 256 if index < 256 else len(leaves) - 256).path
    assert (finding.height, finding.damage.entry, finding.damage.field) == (height + 1, 1, "payload")
    start = start_of(leaves, index)
    assert (finding.damage.start, finding.damage.end) == (start + 17, start + len(forged))


def test_a_header_that_does_not_follow_is_named_by_its_field(
    tmp_path: Path, blocks: list[list[bytes]]
) -> None:
    changed = [list(block) for block in blocks]
    header = parse_header(changed[50][-1][17:])
    assert header is not None
    changed[50][-1] = header_leaf(replace(header, previous_hash=bytes(32)))
    leaves = [leaf for block in changed for leaf in block]
    finding = lied_log(tmp_path, leaves).finding
    assert finding is not None
    assert finding.damage is not None
    assert (finding.height, finding.damage.field) == (51, "header.previous_hash")
    bundle = (tmp_path / finding.source).read_bytes()
    assert bundle[finding.damage.start : finding.damage.end] == bytes(32)


@pytest.mark.parametrize("kind", [0, 4, 255])
def test_a_leaf_of_no_kind_is_named(tmp_path: Path, blocks: list[list[bytes]], kind: int) -> None:
    leaves = [leaf for block in blocks[:5] for leaf in block]
    leaves[5] = bytes((kind,)) + leaves[5][1:]
    finding = lied_log(tmp_path, leaves).finding
    assert finding is not None
    assert finding.damage is not None
    assert (finding.height, finding.damage.start) == (2, start_of(leaves, 5))


def test_leaves_without_a_header_after_them_are_named(tmp_path: Path, blocks: list[list[bytes]]) -> None:
    leaves = [leaf for block in blocks[:5] for leaf in block][:-1]
    finding = lied_log(tmp_path, leaves).finding
    assert finding is not None
    assert f"leaves {len(leaves) - 2} to {len(leaves) - 1} have no block's header" in finding.detail


def test_a_block_that_is_left_out_is_named(tmp_path: Path, blocks: list[list[bytes]]) -> None:
    report = lied_log(tmp_path, [leaf for block in (*blocks[:7], *blocks[8:]) for leaf in block])
    assert report.finding is not None
    assert (report.finding.height, report.height) == (8, 7)


def test_helpers_find_the_same(tmp_path: Path, blocks: list[list[bytes]]) -> None:
    """Damage in a bundle's bytes, in a log that is otherwise good, with and without helpers."""
    assert lied_log(tmp_path, [leaf for block in blocks for leaf in block]).is_good
    pool = SurveyPool(WORLD.genesis, 2)
    try:
        for at in (0, 1, 9, 500, 30_000):
            bundle = tmp_path / "tile/entries/000"
            content = bundle.read_bytes()
            flip(bundle, at)
            reports = []
            for helpers in (None, pool):
                log = TileAudit(WORLD.genesis, TileFiles(tmp_path).read)
                assert log.open()
                auditor = Auditor(WORLD.genesis, strict=True, pool=helpers)
                reports.append(asyncio.run(log.run(auditor, lambda _leaves: None)).as_json())
            assert reports[0] == reports[1]
            assert reports[0]["finding"]["source"] == "tile/entries/000"
            bundle.write_bytes(content)
    finally:
        pool.close()


def test_an_audit_of_tiles_goes_on_where_it_stopped(tmp_path: Path, blocks: list[list[bytes]]) -> None:
    file, folder = tmp_path / "progress", tmp_path / "log"
    leaves = [leaf for block in blocks for leaf in block]
    whole = sum(map(len, blocks[:99]))

    def verified() -> AuditReport:
        return audit_tiles(WORLD.genesis, TileFiles(folder).read, "here", AuditOptions(resume=file))

    assert lied_log(folder, leaves[:whole]).is_good
    assert verified().is_good
    assert lied_log(folder, leaves).is_good
    report = verified()
    assert report.is_good, report.finding
    assert (report.resumed_after, report.height) == (99, 101)
    other = [leaf for block in (blocks[0], blocks[1]) for leaf in block]
    lied_log(folder, other)
    shorter = verified()
    assert shorter.finding is not None
    assert "fewer than" in shorter.finding.detail


def other_end(blocks: list[list[bytes]]) -> list[bytes]:
    """Return the leaves of the chain with another last block, as good by itself."""
    kept = [leaf for block in blocks[:-1] for leaf in block]
    entry, header = blocks[-1][0], parse_header(blocks[-1][-1][17:])
    assert header is not None
    changed = replace(header, entry_count=1, entries_root=leaf_hash(entry))
    return [*kept, entry, header_leaf(changed)]


@pytest.mark.parametrize("helped", [False, True])
def test_a_good_block_that_is_not_the_one_in_the_tree_is_named_by_its_leaf(
    tmp_path: Path, blocks: list[list[bytes]], helped: bool
) -> None:
    leaves = other_end(blocks)
    assert lied_log(tmp_path / "log", leaves).is_good
    bundle = TileId(-1, 1, len(leaves) - 256).path
    header = parse_header(leaves[-1][17:])
    assert header is not None
    swapped = [*leaves[:-1], header_leaf(replace(header, log_digest=bytes(31) + b"1"))]
    (tmp_path / "log" / bundle).write_bytes(encode_bundle(swapped[256:]))
    pool = SurveyPool(WORLD.genesis, 2) if helped else None
    try:
        log = TileAudit(WORLD.genesis, TileFiles(tmp_path / "log").read)
        assert log.open()
        auditor = Auditor(WORLD.genesis, strict=True, pool=pool)
        finding = asyncio.run(log.run(auditor, lambda _leaves: None)).finding
    finally:
        if pool is not None:
            pool.close()
    assert finding is not None
    assert finding.source == bundle
    assert f"leaf {len(leaves) - 1}," in finding.detail


def test_a_log_of_the_same_size_that_is_not_the_one_audited_before_is_found(
    tmp_path: Path, blocks: list[list[bytes]]
) -> None:
    folder, options = tmp_path / "log", AuditOptions(resume=tmp_path / "progress")
    leaves = other_end(blocks)
    header = parse_header(leaves[-1][17:])
    assert header is not None
    other = [*leaves[:-1], header_leaf(replace(header, log_digest=bytes(31) + b"1"))]
    assert lied_log(folder, leaves).is_good
    assert audit_tiles(WORLD.genesis, TileFiles(folder).read, "here", options).is_good
    assert lied_log(folder, other).is_good
    finding = audit_tiles(WORLD.genesis, TileFiles(folder).read, "here", options).finding
    assert finding is not None
    assert (finding.source, "audited before" in finding.detail) == ("checkpoint", True)
