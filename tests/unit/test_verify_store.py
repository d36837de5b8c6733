"""``bkdms verify --against-store`` names the rows of the platform's store that are not what the blocks give."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.block_folder import block_file
from pipeline.adapters.keystore import SealingKeyFolder
from tests.support import command_line
from tests.support.stored_chain import StoredChain, Tampered


class Auditing:
    """A folder of blocks, the platform's keys and its store, and running the command on them."""

    def __init__(
        self, stored: StoredChain, store: Path, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self.store = Tampered(store, folder.name)
        self._capsys = capsys
        self.blocks = folder / "blocks"
        self.blocks.mkdir()
        for height, data in enumerate(stored.blocks, 1):
            block_file(self.blocks, height).write_bytes(data)
        keys = SealingKeyFolder(folder / "keys")
        for key in stored.keys.values():
            keys.add(key)
        (folder / "genesis.json").write_bytes(stored.genesis.raw)
        self._settings = folder / "bkdms.toml"
        self.point_at(self.store.path)

    def point_at(self, store: Path) -> None:
        self._settings.write_text(
            f'data_dir = "{self.folder}"\ngenesis = "{self.folder / "genesis.json"}"\n'
            f'[store]\nurl = "sqlite:///{store}"\n[platform]\nkeys_dir = "{self.folder / "keys"}"\n'
        )

    def run(self, *more: str, source: str | None = None) -> tuple[int, str, str]:
        source = source or f"--blocks={self.blocks}"
        code = command_line.run("--config", self._settings, "verify", source, "--against-store", *more)
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("--json")[1])
        return found


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredChain:
    return StoredChain(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
async def store(stored: StoredChain) -> Path:
    return await stored.fill("whole.sqlite", 6)


@pytest.fixture(scope="module")
async def behind(stored: StoredChain) -> Path:
    return await stored.fill("behind.sqlite", 3)


@pytest.fixture
def auditing(
    stored: StoredChain, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Auditing:
    return Auditing(stored, store, tmp_path, capsys)


def test_a_good_store_passes_and_what_has_no_key_is_said(auditing: Auditing) -> None:
    code, out, err = auditing.run()
    assert code == 0, out
    assert "good: every row of the store, at height 6 of 6: 8 packets, 9 values" in out
    assert "1 packets hold could not be judged" in err
    assert auditing.json()["store"]["store_ok"] is True


def test_rows_that_differ_are_named_by_table_key_and_column(auditing: Auditing) -> None:
    auditing.store.run("UPDATE kpi_records SET module_id = 'forged' WHERE height = 2 AND entry = 1")
    auditing.store.run("DELETE FROM openings WHERE tracing_code LIKE '%-6-%'")
    code, out, _ = auditing.run()
    assert code == 1
    assert "good: 6 blocks" in out
    assert "column module_id: edited: module_id is forged, not module-1" in out
    assert "table openings" in out
    assert "removed" in out
    value = auditing.json()
    assert value["audit_ok"] is False
    assert value["problem"].startswith("store: table kpi_records")
    assert value["finding"] is None
    assert value["store"]["problems"] == 2


def test_a_store_beyond_the_blocks_is_not_called_good(auditing: Auditing) -> None:
    for height in (5, 6):
        block_file(auditing.blocks, height).unlink()
    code, out, _ = auditing.run()
    assert code == 1
    assert "beyond the 4 blocks" in out
    assert "beyond the 4 blocks" in auditing.json()["problem"]


def test_a_store_that_is_behind_is_good_and_said_to_be_behind(auditing: Auditing, behind: Path) -> None:
    auditing.point_at(behind)
    code, out, err = auditing.run()
    assert code == 0, out
    assert "at height 3 of 6" in out
    assert "the store is behind: nothing of blocks 4 to 6" in err


def test_bad_blocks_are_named_and_the_store_is_not_judged(auditing: Auditing) -> None:
    block_file(auditing.blocks, 3).write_bytes(b"junk")
    code, out, err = auditing.run()
    assert code == 1
    assert "00000003.block" in out
    assert "the store was not judged" in err
    assert "store" not in out


@pytest.mark.parametrize("option", ["--resume=progress", "--tiles=somewhere"])
def test_a_store_is_audited_with_whole_blocks_from_the_first_on(auditing: Auditing, option: str) -> None:
    source = option if option.startswith("--tiles") else None
    code, out, err = auditing.run(*([] if source else [option]), source=source)
    assert (code, out) == (2, "")
    assert "--against-store needs whole blocks" in err


def test_a_store_that_is_not_there_is_an_error_of_use(auditing: Auditing) -> None:
    auditing.point_at(auditing.folder / "nothing.sqlite")
    code, out, err = auditing.run()
    assert (code, out) == (2, "")
    assert "store.url" in err


def test_a_file_that_is_no_database_is_an_error(auditing: Auditing) -> None:
    junk = auditing.folder / "junk.sqlite"
    junk.write_bytes(b"junk" * 1000)
    auditing.point_at(junk)
    code, _, err = auditing.run()
    assert code != 0
    assert "Traceback" not in err
