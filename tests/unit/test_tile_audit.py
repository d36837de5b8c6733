"""Our audit of an exported log names the file that is wrong, whatever was done to it."""

import shutil
from pathlib import Path

import pytest

from pipeline.adapters.tile_files import TileFiles
from pipeline.apps.audit_run import audit_tiles
from pipeline.apps.cli.root import main
from pipeline.core.note import format_note, parse_note
from pipeline.core.tiles import TileId, tiles_of
from pipeline.services.audit_report import AuditReport
from pipeline.services.exporter import follow_to_end
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
