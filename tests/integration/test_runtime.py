"""Faust as the runtime of workers: start, pages, signals, crashes, exit codes. No broker is needed for that."""

import http.client
import json
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops import health
from ops.ports import HOST, reserve
from ops.tls.authority import Authority, CertificateFiles
from ops.tls.holders import certificate_folder
from ops.tls.principal import Principal, Role
from ops.tls.revoked import Revocation, add_revocation
from pipeline.apps.local.probes import WATCHER, worker_page

PATIENCE_S = 30
HOLDERS = {Role.VALIDATOR: "w", Role.MONITOR: "monitor", Role.ADMIN: "admin", Role.NODE: "n", Role.SITE: "s"}


def asked(connection: http.client.HTTPConnection, path: str) -> tuple[int, str, str]:
    """Return status, content type and body of an answer."""
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


class Program:
    """The worker of ``tests.support.run_loop`` as a process."""

    def __init__(self, folder: Path, mode: str, port: int) -> None:
        self.folder, self.port = folder, port
        argv = [sys.executable, "-m", "tests.support.run_loop", mode, str(port), str(folder)]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def notes(self) -> list[str]:
        """What was done with the loop."""
        file = self.folder / "notes"
        return file.read_text().split() if file.exists() else []

    def get(self, path: str, who: str | None = "monitor") -> tuple[int, str, str]:
        """Return status, content type and body of a page as one of the certificates sees it; status 0: no answer."""
        try:
            return asked(
                http.client.HTTPSConnection(HOST, self.port, timeout=5, context=self.context(who)), path
            )
        except OSError:
            return 0, "", ""

    def context(self, who: str | None) -> ssl.SSLContext:
        """A client's context with the certificate of ``who``, or without one."""
        context = ssl.create_default_context(cafile=self.folder / "w" / "ca.pem")
        context.check_hostname = False
        if who is not None:
            context.load_cert_chain(self.folder / who / "certificate.pem", self.folder / who / "key.pem")
        return context

    def finish(self, sent: signal.Signals | None = None) -> tuple[int, str, list[dict[str, Any]]]:
        """Return exit code, standard output and the log's events, after sending a signal if any."""
        if sent is not None:
            self.process.send_signal(sent)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, [json.loads(line) for line in err.splitlines()]


Starter = Callable[[str], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts a worker in a mode, and sees that none is left."""
    now = datetime.now(UTC)
    authority = Authority.create(tmp_path / "tls", now=now)
    for role, name in HOLDERS.items():
        authority.issue(Principal(role, name), tmp_path / name, now=now)
    port = reserve(tmp_path / "ports.json", ["w"])["w"]
    programs: list[Program] = []

    def starter(mode: str) -> Program:
        programs.append(Program(tmp_path, mode, port))
        return programs[-1]

    yield starter
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
            program.process.communicate()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_worker_serves_metrics_and_health_and_nothing_else(start: Starter) -> None:
    program = start("good")
    until(lambda: program.get("/health/ready")[0] == 200)
    status, kind, body = program.get("/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert "bkdms_worker_ready 1.0" in body
    assert program.get("/health/live")[0] == 200
    assert [program.get(path)[0] for path in ("/graph", "/router", "/stats", "/table")] == [404] * 4
    program.finish(signal.SIGTERM)


def test_metrics_are_for_those_who_watch_and_health_for_every_part(start: Starter) -> None:
    """A site, and who shows nothing, don't get past the handshake; TLS is 1.3 alone."""
    program = start("good")
    until(lambda: program.get("/health/ready")[0] == 200)
    seen = {who: program.get("/metrics", who)[0] for who in ("monitor", "admin", "n", "w", "s", None)}
    assert seen == {"monitor": 200, "admin": 200, "n": 403, "w": 403, "s": 0, None: 0}
    assert {who: program.get("/health/live", who)[0] for who in ("n", "s")} == {"n": 200, "s": 0}
    older = program.context("monitor")
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        asked(http.client.HTTPSConnection(HOST, program.port, timeout=5, context=older), "/metrics")
    with pytest.raises((OSError, http.client.HTTPException)):
        asked(http.client.HTTPConnection(HOST, program.port, timeout=5), "/metrics")
    # Our own commands believe the page of whom they asked alone, a health check that of its role.
    files = CertificateFiles.of(certificate_folder(program.folder, WATCHER))
    shutil.copytree(program.folder / "monitor", files.key.parent)
    assert worker_page(program.folder, "w", program.port)
    assert worker_page(program.folder, "w-2", program.port) is None
    url, hosts = f"https://{HOST}:{program.port}/health/live", (Role.VALIDATOR.page_host, Role.NODE.page_host)
    assert [health.main([url, str(files.key.parent), str(host)]) for host in hosts] == [0, 1]
    add_revocation(program.folder / "revoked.json", "monitor:monitor", Revocation("2026-01-01", "test"))
    until(lambda: program.get("/metrics")[0] == 403)


def test_plain_pages_are_served_only_where_a_setting_accepts_them(start: Starter) -> None:
    program = start("plain")

    def status() -> int:
        try:
            return asked(http.client.HTTPConnection(HOST, program.port, timeout=5), "/metrics")[0]
        except OSError:
            return 0

    until(lambda: status() == 200)


def test_a_worker_with_a_socket_that_nobody_decided_on_works_and_is_not_ready(start: Starter) -> None:
    program = start("stray socket")
    until(lambda: "bkdms_unexpected_sockets 1.0" in program.get("/metrics")[2])
    until(lambda: "end" in program.notes())
    assert program.get("/health/ready")[0] == 503
    assert program.get("/health/live")[0] == 200
    assert "bkdms_worker_ready 0.0" in program.get("/metrics")[2]
    _, _, events = program.finish(signal.SIGTERM)
    assert [event["level"] for event in events if event["event"] == "unexpected_socket"] == ["error"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_in_peace_and_the_process_with_0(start: Starter, sent: signal.Signals) -> None:
    program = start("slow")
    until(lambda: program.notes().count("begin") >= 2)
    program.process.send_signal(signal.SIGUSR1)  # would show local variables, if it were listened to
    code, out, events = program.finish(sent)
    notes = program.notes()
    assert (code, out) == (0, "")
    assert (notes.count("begin"), notes[-2:]) == (notes.count("end"), ["end", "close"])
    assert [event["event"] for event in events] == ["worker_started", "worker_stopped"]


@pytest.mark.parametrize(
    ("mode", "code", "label"),
    [
        ("integrity", 1, "fork"),
        ("config", 2, "config.setting"),
        ("defect", 1, "defect"),
        ("stray", 1, "defect"),  # a cancellation that nobody asked for must not end the work silently
    ],
)
def test_a_crash_is_one_line_and_an_exit_code_and_closes_what_was_open(
    start: Starter, mode: str, code: int, label: str
) -> None:
    program = start(mode)
    exit_code, out, events = program.finish()
    assert (exit_code, out) == (code, "")
    assert [event["event"] for event in events] == ["worker_started", "worker_crashed"]
    assert events[1]["code"] == label
    assert ("exception" in events[1]) is (label == "defect")
    assert program.notes() == ["open", "close"]


def test_passing_faults_are_retried_and_counted_and_nothing_is_left_behind(start: Starter) -> None:
    program = start("flaky")
    until(lambda: "end" in program.notes())
    assert 'bkdms_worker_retries_total{code="kafka"} 2.0' in program.get("/metrics")[2]
    code, _, events = program.finish(signal.SIGTERM)
    assert code == 0
    assert [event["after_s"] for event in events if event["event"] == "retrying"] == [0.2, 0.4]
    # Nothing is left outside the worker's folder, and no file in it.
    assert {path.name for path in program.folder.iterdir()} == {
        "tls",
        "ports.json",
        "notes",
        "data",
        *HOLDERS.values(),
    }
    assert not [path for path in (program.folder / "data").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("mode", "code", "label"), [("endless defect", 1, "defect"), ("endless config", 2, "config.setting")]
)
def test_a_crash_whose_stop_never_ends_is_told_and_ended_and_the_worker_is_not_alive_meanwhile(
    start: Starter, mode: str, code: int, label: str
) -> None:
    program = start(mode)
    exit_code, _, events = program.finish()
    assert [event["event"] for event in events] == ["worker_started", "worker_crashed"]
    assert (exit_code, events[1]["code"], events[1]["after_s"]) == (code, label, 2.0)
    assert any("NotingLoop.close" in text for text in events[1]["unfinished"])
    assert ("a defect" in str(events[1]["reason"])) is (label == "defect")


def test_a_stop_that_never_ends_is_ended_and_is_no_good_end(start: Starter) -> None:
    program = start("endless")
    until(lambda: "end" in program.notes())
    code, _, events = program.finish(signal.SIGTERM)
    assert (code, events[-1]["event"], events[-1]["level"]) == (1, "worker_stopped", "error")
    assert any("NotingLoop.close" in text for text in events[-1]["unfinished"])


def test_a_worker_that_blocks_its_event_loop_ends_by_a_signal(start: Starter) -> None:
    program = start("blocked")
    until(lambda: "blocked" in program.notes())
    code, _, events = program.finish(signal.SIGTERM)
    assert (code, events[-1]["event"]) == (1, "worker_stopped")
    assert any(text.startswith("MainThread") for text in events[-1]["unfinished"])


def test_a_thread_that_is_left_does_not_keep_the_process(start: Starter) -> None:
    program = start("left thread")
    until(lambda: "end" in program.notes())
    code, _, events = program.finish(signal.SIGTERM)
    assert [event["event"] for event in events[-2:]] == ["worker_stopped", "end_forced"]
    assert (code, any(text.startswith("left: ") for text in events[-1]["unfinished"])) == (1, True)
