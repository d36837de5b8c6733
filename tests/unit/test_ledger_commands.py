"""``bkdms ledger`` as an operator meets it after a disaster: mistakes are named in a line, with what to do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.keystore import save_key
from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.apps.cli import main
from tests.support.clean_env import clean_env
from tests.support.world import World

__all__ = ["clean_env"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A chain whose genesis file is set, and nothing else is."""
    made = World()
    (tmp_path / "genesis.json").write_bytes(made.genesis.raw)
    monkeypatch.setenv("BKDMS_GENESIS", str(tmp_path / "genesis.json"))
    yield made


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run ``bkdms ledger`` with a mistake and return the line that it says."""
    with pytest.raises(SystemExit) as ended:
        main(["ledger", *map(str, arguments)])
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.usefixtures("world")
def test_restore_wants_to_know_from_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert "by --blocks or --node" in refused(capsys, "restore")


@pytest.mark.usefixtures("world")
def test_sources_that_are_none_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is no folder of an accounting node" in refused(capsys, "restore", "--node", empty)
    assert not list(empty.iterdir())
    assert "holds no block files" in refused(capsys, "restore", "--blocks", empty)
    assert "No such file" in refused(capsys, "restore", "--blocks", tmp_path / "blocks.avro")
    (tmp_path / "blocks.avro").write_bytes(b"rubbish")
    assert "is no Avro container file" in refused(capsys, "restore", "--blocks", tmp_path / "blocks.avro")


def test_the_folder_of_a_running_node_is_left_alone(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    SqliteNodeStore(tmp_path / "node-1", world.genesis).close()
    lock = lock_folder(tmp_path / "node-1")
    assert "in use by its accounting node; stop it" in refused(
        capsys, "restore", "--node", tmp_path / "node-1"
    )
    os.close(lock)
    assert "kafka.bootstrap" in refused(capsys, "restore", "--node", tmp_path / "node-1")


def test_the_folder_of_another_chain_is_refused(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = World(nodes=3, quorum=2)
    assert other.genesis.chain != world.genesis.chain
    SqliteNodeStore(tmp_path / "node-1", other.genesis).close()
    assert "the database holds chain" in refused(capsys, "restore", "--node", tmp_path / "node-1")


def test_reanchor_takes_root_keys_only(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save_key(tmp_path / "registrar.json", world.registrar)
    wrong = refused(capsys, "reanchor", "--root-key", tmp_path / "registrar.json")
    assert "holds a registrar key where a root key is needed" in wrong
    save_key(tmp_path / "root-1.json", world.roots[0])
    assert "kafka.bootstrap" in refused(capsys, "reanchor", "--root-key", tmp_path / "root-1.json")
