"""``bkdms store`` shows a store's schema, brings it to this release, and writes the SQL of that."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.adapters.folder_lock import lock_beside
from pipeline.adapters.sql.schema import LATEST
from tests.support import command_line
from tests.vectors.core_world import FOLDER

OLD_TABLES = FOLDER / "store_0_1_0_sqlite.sql"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def run(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    settings = tmp_path / "bkdms.toml"
    settings.write_text(f'data_dir = "{tmp_path}"\n[store]\nurl = "sqlite:///{store}"\n')

    def command(*words: str) -> tuple[int, str, str]:
        code = command_line.run("--config", settings, "store", *words)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return command


def test_a_store_is_made_shown_and_left_alone_when_it_is_right(run: Run) -> None:
    code, _, err = run("migrate")
    assert (code, f"schema {LATEST} now; before: empty" in err) == (0, True)
    code, out, _ = run("status", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["state"], found["version"], found["height"], found["next_offset"]) == (
        "current",
        LATEST,
        0,
        0,
    )
    code, _, err = run("migrate")
    assert (code, "as this release needs it" in err) == (0, True)


def test_an_older_store_is_named_and_brought_to_this_release(run: Run, store: Path) -> None:
    connection = sqlite3.connect(store)
    connection.executescript(OLD_TABLES.read_text("utf-8"))
    connection.close()
    code, out, _ = run("status")
    assert (code, "unversioned" in out) == (1, True)
    code, _, err = run("migrate")
    assert (code, "before: unversioned" in err) == (0, True)
    assert run("status")[0] == 0


def test_a_store_that_is_not_there_is_an_error_of_use(run: Run, store: Path) -> None:
    code, out, err = run("status")
    assert (code, out, "there is no store" in err) == (2, "", True)
    assert not store.exists()


def test_a_store_in_use_is_left_alone(run: Run, store: Path) -> None:
    lock = lock_beside(store)
    code, _, err = run("migrate")
    os.close(lock)
    assert (code, "in use by another platform worker" in err, store.exists()) == (2, True, False)


def test_a_newer_store_is_shown_and_refused(run: Run, store: Path) -> None:
    run("migrate")
    connection = sqlite3.connect(store)
    connection.execute("UPDATE bkdms_store_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    code, out, _ = run("status")
    assert (code, "newer" in out) == (1, True)
    code, _, err = run("migrate")
    assert (code, "newer release" in err) == (2, True)


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_the_sql_is_written_without_a_database(run: Run, store: Path, dialect: str) -> None:
    code, out, err = run("sql", "--dialect", dialect)
    assert (code, err) == (0, "")
    assert out.count("CREATE VIEW") == 5
    assert ("to_timestamp" in out) == (dialect == "postgresql")
    assert not store.exists()
    code, _, err = run("sql", "--from", "1234")
    assert (code, "known are" in err) == (2, True)
