"""A PostgreSQL of our own: it keeps its data, leaves no process, and runs as nobody who could harm us."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from ops.child import ChildState
from ops.postgres import server
from ops.postgres.program import PostgresPrograms
from ops.tls.authority import CertificateFiles
from pipeline.core.errors import ConfigError
from tests.integration.test_supervisor import is_alive, until
from tests.support.postgres import running_postgres

pytestmark = pytest.mark.stack

PATIENCE_S = 60


def processes(pid: int | None) -> list[int]:
    """A server's process and those that it started."""
    assert pid is not None
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def test_what_was_committed_outlives_stops_kills_and_new_starts(tmp_path: Path) -> None:
    """The same data at the same port after an orderly end, a SIGKILL and another start in the same folder."""
    with running_postgres(tmp_path) as postgres, postgres.database() as database:
        with psycopg.connect(database.conninfo()) as owner:
            owner.execute("CREATE TABLE kept (value int)")
            owner.execute("INSERT INTO kept VALUES (1)")
        open_session = psycopg.connect(database.conninfo())
        pids = processes(postgres.status().pid)
        # An orderly end does not wait for clients, and needs no kill.
        postgres.stop()
        assert (postgres.status().state, postgres.status().exit_code) == (ChildState.STOPPED, 0)
        assert not any(is_alive(pid) for pid in pids)
        open_session.close()
        postgres.start()
        pids = processes(postgres.status().pid)
        postgres.kill()
        until(lambda: not any(is_alive(pid) for pid in pids))
        postgres.start()
        with psycopg.connect(database.conninfo()) as owner:
            assert owner.execute("SELECT value FROM kept").fetchall() == [(1,)]
        port = postgres.place.port
    with running_postgres(tmp_path) as postgres:
        assert postgres.place.port == port


def test_it_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    """When that is killed, no process of the server is left, and the folder can be used again."""
    program = [sys.executable, "-m", "tests.integration.run_postgres", str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pids = processes(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        until(lambda: not any(is_alive(pid) for pid in pids))
    with running_postgres(tmp_path) as postgres:
        assert postgres.status().state is ChildState.RUNNING


def test_it_runs_without_our_rights(tmp_path: Path) -> None:
    """Never as root; as root's child it can write its data alone, not its settings, rules and keys."""
    with running_postgres(tmp_path) as postgres:
        process = psutil.Process(postgres.status().pid)
        assert process.uids().effective != 0
        assert process.uids().saved != 0
        folder = postgres.place.folder
        ours = [path for path in folder.rglob("*") if not path.is_relative_to(folder / "data")]
        assert {path.name for path in ours} >= {
            "postgresql.conf",
            "hba.conf",
            "ident.conf",
            "server.key",
            "tls",
        }
        assert all(path.stat().st_uid == os.geteuid() for path in ours)
        assert all(path.stat().st_mode & 0o007 == 0 for path in folder.rglob("*"))


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    """The message says what to do; nothing of the data is touched."""
    files = CertificateFiles(*(tmp_path / name for name in ("ca", "certificate", "key")))
    for path in (files.ca, files.certificate, files.key):
        path.write_bytes(b"")
    place = server.PostgresPlace(PostgresPrograms(tmp_path, 17), tmp_path / "postgres", 1, None)
    (place.folder / "data").mkdir(parents=True)
    (place.folder / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigError, match="is of PostgreSQL 15, and the program is 17: install 15"):
        server.prepare(place, files)
