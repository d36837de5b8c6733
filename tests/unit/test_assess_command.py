"""``bkdms assess``: the figures that the worker would store, computed once; nothing is written."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.sql.engine import open_sqlite
from pipeline.core.assess.document import document
from tests.support import command_line
from tests.support.assessing import PLAN, Assessing, settle


@pytest.fixture
async def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assessing:
    made = Assessing(open_sqlite(tmp_path / "platform" / "store.sqlite", durable=False))
    await made.grow(0, 1, 30)
    genesis = tmp_path / "chain" / "genesis.json"
    genesis.parent.mkdir()
    genesis.write_bytes(made.chain.world.genesis.raw)
    (tmp_path / "plan.toml").write_text(PLAN)
    monkeypatch.setenv("BKDMS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BKDMS_ASSESS__PLAN", str(tmp_path / "plan.toml"))
    return made


def run(*arguments: str) -> int:
    return command_line.run("assess", *arguments)


def text(item: dict[str, Any]) -> str:
    return json.dumps(item, sort_keys=True)


async def test_it_prints_what_the_worker_stores_and_stores_nothing(
    case: Assessing, capsys: pytest.CaptureFixture[str]
) -> None:
    before = case.rows()
    assert run("--json") == 0
    printed = json.loads(capsys.readouterr().out)["assessments"]
    assert case.rows() == before
    assert before["assessments"] == before["assess_position"] == []
    await settle(case.worker())
    stored = [document(item) for item in case.heard().values()]
    assert sorted(printed, key=text) == sorted(stored, key=text)


def test_filters_choose_what_is_printed(case: Assessing, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--kind", "value", "--window", "day", "--site", case.site_text(0)) == 0
    (first, *_) = found = json.loads(capsys.readouterr().out)["assessments"]
    assert {(item["kind"], item["window"], item["site_id"]) for item in found} == {
        ("value", "day", case.site_text(0))
    }
    assert run("--json", "--from", first["window_start"], "--to", first["window_end"], "--kind", "value") == 0
    chosen = json.loads(capsys.readouterr().out)["assessments"]
    assert all(first["window_start"] <= item["window_start"] < first["window_end"] for item in chosen)
    assert {item["window"] for item in chosen} == {"hour", "day"}


def test_the_table_has_a_line_per_figure(case: Assessing, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--kind", "value", "--window", "day") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "value: mean" in line]
    assert len(lines) == 4  # two sites, two days
    assert all("50" in line and case.sites[0].name.city in line for line in lines)


def test_brackets_in_a_name_are_shown_and_are_no_markup(
    case: Assessing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A site may call a data point what it likes."""
    with closing(sqlite3.connect(tmp_path / "platform" / "store.sqlite")) as store, store:
        store.execute("UPDATE observations SET data_point = '[/red][bold]x'")
    assert run("--window", "day") == 0
    assert "[/red][bold]x" in capsys.readouterr().out


def test_another_plan_can_be_tried(
    case: Assessing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[other]\nwindows = ["month"]\n')
    assert run("--json", "--plan", str(other)) == 0
    printed = json.loads(capsys.readouterr().out)["assessments"]
    assert {item["window"] for item in printed} == {"month"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--from", "soon"), "--from"),
        (("--site", "here"), "--site"),
        (("--plan", "none.toml"), "none.toml"),
    ],
)
def test_a_wrong_option_is_named(
    case: Assessing, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], named: str
) -> None:
    assert run(*arguments) == 2
    assert named in capsys.readouterr().err


def test_without_a_store_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BKDMS_DATA_DIR", str(tmp_path))
    assert run() == 2
    assert "store" in capsys.readouterr().err
    assert not (tmp_path / "platform").exists()
