"""``bkdms up --postgres`` as a person uses it: an analyst looks, everything is killed, and all is there again."""

import os
import signal
from pathlib import Path

import psycopg
import pytest

from ops.lock import holder
from pipeline.apps.demo import commands
from tests.e2e.test_up import enrol_a_site, status, wait_until_gone
from tests.integration.test_supervisor import until

pytestmark = [pytest.mark.stack, pytest.mark.faults]


def up(folder: Path, *options: str) -> str:
    answer = commands.command("up", "--data-dir", str(folder), "--detach", *options)
    assert answer.code == 0, answer.talk
    return answer.talk


def sites() -> list[tuple[object, ...]]:
    """What an analyst sees through the address that ``up`` prints."""
    with psycopg.connect("service=bkdms_reader") as reader:
        return reader.execute("SELECT city, site_id, active FROM v_sites").fetchall()


def running(folder: Path) -> dict[str, int]:
    """Processes by part."""
    code, found = status(folder)
    parts = found["parts"]
    assert isinstance(parts, list)
    assert code == 0, parts
    return {part["name"]: part["pid"] for part in parts}


@pytest.mark.timeout(600)
def test_the_store_in_postgresql_outlives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read by an analyst, audited against the ledger, and there again after SIGKILL and a plain `up`."""
    folder = tmp_path / "d"
    monkeypatch.setenv("PGSERVICEFILE", str(folder / "pg_service.conf"))
    up(folder, "--postgres", "--period-ms", "500")
    try:
        assert f"PGSERVICEFILE={folder}/pg_service.conf psql service=bkdms_reader" in (
            folder / "up.log"
        ).read_text("utf-8")
        enrol_a_site(folder, monkeypatch)
        until(lambda: bool(sites()))
        before, pids = sites(), running(folder)
        assert "postgres" in pids
        process = holder(folder)
        assert process is not None
        os.kill(process, signal.SIGKILL)
        wait_until_gone([process, *pids.values()])
        up(folder)
        assert "postgres" in running(folder)
        assert sites() == before
        audited = commands.bkdms(folder / "bkdms.toml", "verify", "--against-store", "--json")
        assert audited.code == 0, audited.talk
        assert not (folder / "platform" / "store.sqlite").exists()
    finally:
        stopped = commands.command("down", "--data-dir", str(folder))
    assert stopped.code == 0
    with pytest.raises(psycopg.OperationalError):
        sites()
