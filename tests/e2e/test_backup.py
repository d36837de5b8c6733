"""The drill: a machine is lost, a backup lives on elsewhere, and the same site goes on sending to it."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ops.lock import holder
from ops.tls.site_principal import site_principal
from pipeline.apps.demo import commands
from pipeline.apps.local.settings_file import write_settings
from pipeline.config import load_settings
from pipeline.core.names import SiteName, parse_site_id
from tests.support import hunt

pytestmark = [pytest.mark.stack, pytest.mark.faults]
SITE = "US/unlocode:USMES/fd62::1"
NAME = site_principal(SiteName("US", "unlocode:USMES", parse_site_id("fd62::1"))).name
FIRST, LATER = 40, 25


def run(*arguments: str | Path, settings: Path | None = None) -> commands.Answer:
    """Run a command that must succeed."""
    words = [str(argument) for argument in arguments]
    answer = commands.bkdms(settings, *words) if settings else commands.command(*words)
    assert answer.code == 0, answer.talk
    return answer


def measure(file: Path, first: int, count: int) -> None:
    """Append measurements, one a minute."""
    if not file.exists():
        file.write_text("timestamp,value\n")
    with file.open("a") as rows:
        for number in range(first, first + count):
            rows.write(f"2015-09-01 {number // 60:02}:{number % 60:02}:00,{60 + number % 7}\n")


def site_settings(folder: Path, data: Path) -> Path:
    """Enrol a site that reads a CSV file, with a certificate of its own; return its settings."""
    issued = run("pki", "issue", "site", NAME, "-o", folder / "tls", "--data-dir", data, "--json").json()
    mapping = {
        "sensor": "speed_1",
        "source": "drill",
        "quality": "assumption_estimate",
        "time": {"column": "timestamp", "format": "%Y-%m-%d %H:%M:%S", "zone": "UTC"},
        "values": [{"column": "value", "indicator": "LOCAL:TRAFFIC_SPEED", "unit": "HM"}],
    }
    country, city, site_id = SITE.split("/")
    site = {"country": country, "city": city, "site_id": site_id, "source": folder / "speed.csv"}
    common = {"data_dir": folder, "genesis": folder / "genesis.json"}
    shutil.copyfile(data / "chain" / "genesis.json", folder / "genesis.json")
    tables = {"kafka": issued["kafka"], "api": issued["api"], "site": {**site, "mapping": mapping}}
    settings = write_settings(folder / "bkdms.toml", {**common, **tables})
    request = folder / "site.request.json"
    run("site", "request", "-o", request, settings=settings)
    operator = data / "bkdms.toml"
    run("registrar", "approve", request, settings=operator)
    run("registrar", "grant", SITE, "--from", "2015-08-01", "--to", "2015-10-01", settings=operator)
    shutil.copyfile(folder / "site.request.answer.json", folder / "site" / "access.json")
    return settings


def stored_values(data: Path) -> list[str]:
    with sqlite3.connect(f"file:{data / 'platform' / 'store.sqlite'}?mode=ro", uri=True) as store:
        return [row[0] for row in store.execute("SELECT exact FROM observations ORDER BY time")]


def hunt_secrets(folder: Path, data: Path, site: Path) -> None:
    """No key is in clear in a file, log, metric, argument or variable of what runs, nor in its backup."""
    secrets = hunt.secrets_of(load_settings(data / "bkdms.toml"), load_settings(site))
    assert {name.partition(" ")[0] for name in secrets} >= {
        "root",
        "registrar",
        "log",
        "node",
        "site",
        "platform",
    }
    up = holder(data)
    assert up is not None
    assert hunt.in_files(folder, secrets) == []
    assert hunt.in_processes(hunt.processes_below(up), secrets) == []
    assert hunt.in_metrics(data, secrets) == []
    # The search is able to find.
    planted = {"planted": bytes(range(100, 132))}
    place = folder / "planted" / "x.log"
    place.parent.mkdir()
    place.write_text(f'{{"event": "x", "key": "{planted["planted"].hex()}"}}')
    assert hunt.in_files(place.parent, planted) == [f"planted: {place}"]
    program = [sys.executable, "-c", "input()", planted["planted"].hex()]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as shown:
        assert hunt.in_processes([shown.pid], planted) == [f"planted: cmdline of {shown.pid}"]


@pytest.mark.timeout(400)
def test_a_lost_machine_lives_on_from_its_backup_and_sites_go_on(tmp_path: Path) -> None:
    lost, restored, backup = tmp_path / "lost", tmp_path / "restored", tmp_path / "backups" / "today"
    folder = tmp_path / "site"
    folder.mkdir(mode=0o700)
    running = lost
    try:
        run("up", "--data-dir", lost, "--detach", "--period-ms", "500")
        settings = site_settings(folder, lost)
        measure(folder / "speed.csv", 0, FIRST)
        run("site", "run", "--once", settings=settings)
        made = run("backup", "create", backup, "--data-dir", lost, "--json").json()
        hunt_secrets(tmp_path, lost, settings)
        before = run("verify", "--json", settings=lost / "bkdms.toml").json()
        assert (made["height"], made["root"]) == (before["height"], before["root"])
        run("down", "--data-dir", lost)
        shutil.rmtree(lost)
        checked = run("backup", "check", backup, "--json").json()
        assert checked == {"height": made["height"], "root": made["root"], "problems": [], "opened": True}

        done = run("backup", "restore", backup, "--data-dir", restored, "--json").json()
        assert done == {"height": made["height"], "incarnation": 2, "problems": []}
        running = restored
        run("up", "--data-dir", restored, "--detach")
        measure(folder / "speed.csv", FIRST, LATER)
        run("site", "run", "--once", settings=settings)
        after = run("verify", "--json", settings=restored / "bkdms.toml").json()
        assert after["audit_ok"]
        assert after["height"] > before["height"]
        expected = [str(60 + number % 7) for number in range(FIRST + LATER)]
        assert stored_values(restored) == expected, json.dumps(after)
    finally:
        commands.command("down", "--data-dir", str(running))
