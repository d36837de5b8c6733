"""``bkdms up`` as a person uses it: detached, looked at, killed, taken up again, stopped."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import fastavro
import pytest

from ops.lock import holder
from pipeline.apps.demo import commands
from pipeline.apps.demo.commands import Answer

pytestmark = [pytest.mark.stack, pytest.mark.faults]
DEADLINE_S = 30
SITE = {
    "BKDMS_SITE__COUNTRY": "US",
    "BKDMS_SITE__CITY": "unlocode:USMES",
    "BKDMS_SITE__SITE_ID": "fd62::1",
}
REBUILT = {
    "redis": "settings/node-1.toml",
    "node": "settings/node-1.toml",
    "store": "settings/platform.toml",
}


def status(folder: Path) -> tuple[int, dict[str, object]]:
    answer = commands.command("status", "--data-dir", str(folder), "--json")
    return answer.code, answer.json()


def up(folder: Path) -> Answer:
    return commands.command("up", "--data-dir", str(folder), "--detach", "--period-ms", "500")


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while alive(pids):
        assert time.monotonic() < deadline, f"still there: {alive(pids)}"
        time.sleep(0.1)


def enrol_a_site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put something into the ledger by the commands of a site and of the registrar."""
    for name, value in SITE.items():
        monkeypatch.setenv(name, value)
    settings, request = folder / "bkdms.toml", folder / "request.json"
    asked = commands.bkdms(
        settings, "site", "request", "-o", str(request), "--indicator", "LOCAL:TRAVEL_TIME"
    )
    assert asked.code == 0, asked.talk
    approved = commands.bkdms(settings, "registrar", "approve", str(request))
    assert approved.code == 0, approved.talk


def export(folder: Path, target: Path, audited: dict[str, Any]) -> None:
    """Export the ledger in both forms, and find in each what the audit of the blocks topic found."""
    settings, log, file = folder / "bkdms.toml", target / "log", target / "blocks.avro"
    for kind, place in (("tiles", log), ("blocks", file)):
        answer = commands.bkdms(settings, "export", kind, str(place))
        assert answer.code == 0, answer.talk
    tiles = commands.bkdms(settings, "verify", "--tiles", str(log), "--json").json()
    assert (tiles["audit_ok"], tiles["root"]) == (True, audited["root"])
    with file.open("rb") as blocks:
        assert len(list(fastavro.reader(blocks))) == audited["height"]


@pytest.mark.timeout(300)
def test_up_resumes_the_same_ledger_after_a_kill_and_leaves_no_orphans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "d"
    started = up(folder)
    assert started.code == 0, started.talk
    try:
        enrol_a_site(folder, monkeypatch)
        before = commands.bkdms(folder / "bkdms.toml", "verify", "--json").json()
        code, found = status(folder)
        parts = found["parts"]
        assert isinstance(parts, list)
        pids = [part["pid"] for part in parts]
        assert (code, len(pids)) == (0, 11)
        again = up(folder)
        assert (again.code, "running already" in again.talk) == (2, True)
        process = holder(folder)
        assert process is not None
        os.kill(process, signal.SIGKILL)
        wait_until_gone([process, *pids])
        assert up(folder).code == 0
        after = commands.bkdms(folder / "bkdms.toml", "verify", "--json").json()
        assert before["height"] >= 1
        assert (after["height"], after["root"]) == (before["height"], before["root"])
        export(folder, tmp_path, after)
        code, found = status(folder)
        assert code == 0, json.dumps(found)
    finally:
        stopped = commands.command("down", "--data-dir", str(folder))
    assert stopped.code == 0
    assert holder(folder) is None
    assert status(folder)[0] == 1


@pytest.mark.timeout(300)
def test_what_the_workers_keep_is_rebuilt_while_only_the_servers_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rebuild refuses while its worker runs; afterwards everything starts again with the same ledger."""
    folder = tmp_path / "d"
    assert up(folder).code == 0
    try:
        enrol_a_site(folder, monkeypatch)
        before = commands.bkdms(folder / "bkdms.toml", "verify", "--json").json()
        for part, settings in REBUILT.items():
            answer = commands.bkdms(folder / settings, "ledger", "rebuild", part)
            assert (answer.code, "stop it" in answer.talk) == ((0, False) if part == "redis" else (2, True))
        assert commands.command("down", "--data-dir", str(folder)).code == 0
        (folder / "platform" / "store.sqlite").unlink()
        (folder / "nodes" / "node-1" / "node.sqlite").write_bytes(b"garbage")
        servers = commands.command("up", "--data-dir", str(folder), "--detach", "--servers")
        assert servers.code == 0, servers.talk
        for part, settings in REBUILT.items():
            answer = commands.bkdms(folder / settings, "ledger", "rebuild", part)
            assert answer.code == 0, answer.talk
        assert commands.command("down", "--data-dir", str(folder)).code == 0
        assert up(folder).code == 0
        after = commands.bkdms(folder / "bkdms.toml", "verify", "--json").json()
        assert (after["height"], after["root"]) == (before["height"], before["root"])
        assert status(folder)[0] == 0
    finally:
        commands.command("down", "--data-dir", str(folder))
