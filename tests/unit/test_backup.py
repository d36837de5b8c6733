"""A backup is whole or not there, and says what is wrong with it."""

import sqlite3
from pathlib import Path

import pytest

from pipeline.apps.backup.contents import (
    DATA,
    Manifest,
    copy_back,
    copy_data,
    differences,
    list_files,
    opened_key,
    read_manifest,
    write_manifest,
)
from pipeline.apps.backup.restoring import revive
from pipeline.apps.backup.sealing import BackupKey
from pipeline.core.errors import ConfigError
from tests.support.keys import sealer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder as programs leave it while they run."""
    folder = tmp_path / "data"
    for name in ("chain/keys", "platform/keys", "nodes/node-1", "kafka/data", "logs"):
        (folder / name).mkdir(parents=True, mode=0o700)
    (folder / "chain" / "keys" / "log.json").write_text("secret")
    (folder / "platform" / "keys" / "k.json").write_text("secret")
    (folder / "platform" / "store.sqlite").write_text("rows")
    (folder / "kafka" / "data" / "segment").write_text("records")
    (folder / "nodes" / "node-1" / "lock").touch()
    (folder / "ports.json").write_text("{}")
    return folder


@pytest.fixture
def backup(data: Path, tmp_path: Path) -> Path:
    """A backup of it, without blocks."""
    return made(data, tmp_path / "backup", tmp_path / "secrets")


def made(data: Path, folder: Path, secrets: Path) -> Path:
    """Make a backup of a data folder, without blocks."""
    key = BackupKey.new()
    copy_data(data, folder / DATA, key)
    manifest = Manifest("00", "https://x", 0, "00", "2026-11-20", list_files(folder))
    write_manifest(folder, manifest, key, sealer(secrets))
    return folder


def restore(backup: Path, target: Path, secrets: Path, **options: bool) -> None:
    """Bring a backup back, as far as a backup without blocks goes."""
    places = {"sealer": sealer(secrets), "generations": secrets / "generations"}
    revive(backup, target, **places, **options, say=lambda _: None, progress=lambda _: None)  # type: ignore[arg-type]


def test_what_can_be_rebuilt_and_locks_are_left_out(backup: Path) -> None:
    found = set(read_manifest(backup).files)
    assert found == {"data/chain/keys/log.json", "data/platform/keys/k.json", "data/ports.json"}


def test_copies_are_private(backup: Path) -> None:
    modes = {path.stat().st_mode & 0o077 for path in (backup / DATA).rglob("*")}
    assert modes == {0}


def test_a_database_is_copied_as_of_one_moment_while_it_is_written(data: Path, tmp_path: Path) -> None:
    node = sqlite3.connect(data / "nodes" / "node-1" / "node.sqlite", isolation_level=None)
    node.execute("PRAGMA journal_mode = WAL")
    node.execute("CREATE TABLE signed (height INTEGER)")
    node.execute("INSERT INTO signed VALUES (1)")
    node.execute("BEGIN")
    node.execute("INSERT INTO signed VALUES (2)")
    key = BackupKey.new()
    copy_data(data, tmp_path / "sealed" / DATA, key)
    node.execute("COMMIT")
    node.close()
    copy_back(tmp_path / "sealed", tmp_path / "copy", key)
    copy = tmp_path / "copy" / "nodes" / "node-1" / "node.sqlite"
    assert [path.name for path in copy.parent.iterdir()] == ["node.sqlite"]
    with sqlite3.connect(copy) as held:
        assert held.execute("SELECT height FROM signed").fetchall() == [(1,)]


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_what_differs_from_the_list_is_named_and_nothing_is_restored(
    backup: Path, tmp_path: Path, damage: str
) -> None:
    key = backup / DATA / "chain" / "keys" / "log.json"
    match damage:
        case "changed":
            key.write_text("Secret")
        case "missing":
            key.unlink()
        case "added":
            (key.parent / "more.json").touch()
            key = key.parent / "more.json"
    lines = differences(backup, read_manifest(backup))
    assert [line.split(" ")[0] for line in lines] == [str(key.relative_to(backup))]
    assert damage in lines[0]
    with pytest.raises(ConfigError, match="is damaged"):
        restore(backup, tmp_path / "new", tmp_path / "secrets")
    assert not (tmp_path / "new").exists()


def test_a_folder_in_use_is_not_restored_to(backup: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not empty"):
        restore(backup, data, tmp_path / "secrets")
    assert (data / "platform" / "store.sqlite").read_text() == "rows"


def test_what_is_copied_back_is_what_was_copied(backup: Path, tmp_path: Path) -> None:
    copy_back(
        backup, tmp_path / "new", opened_key(backup, read_manifest(backup), sealer(tmp_path / "secrets"))
    )
    assert (tmp_path / "new" / "chain" / "keys" / "log.json").read_text() == "secret"


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', '{"format": 2, "files": []}', "[]"])
def test_a_folder_that_is_no_backup_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="backup"):
        read_manifest(tmp_path)
