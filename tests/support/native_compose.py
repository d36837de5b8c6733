"""Runs the services of docker-compose.yml without containers: their very commands, environments and health checks.

Paths in a container become folders on this machine as the service's mounts say, addresses become loopback ports of our
choice, and where PostgreSQL refuses root, it gets a user of its own. Nothing else is changed.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops import ports
from ops.child import RunAs, launched
from ops.kafka import distribution
from ops.postgres.program import find_programs, system_user
from ops.prometheus import server as prometheus
from ops.redis.server import find_program
from tests.support import compose

ONCE_TIMEOUT_S = 120
HEALTH_TIMEOUT_S = 180
CHECK_TIMEOUT_S = 20
STOP_TIMEOUT_S = 60
_POLL_S = 0.3
_ADDRESS = re.compile(r'"([a-z][a-z0-9-]*):(\d+)"')
# Ports that no address of the plan names.
_OTHER_PORTS = {("kafka", 9093), ("prometheus", 9090)}


@dataclass
class NativeDeployment:
    """All services of one deployment in a folder; ``running`` holds those that were started and not stopped."""

    folder: Path
    every: dict[str, dict[str, Any]] = field(default_factory=compose.services)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {(host, int(port)) for host, port in _ADDRESS.findall(compose.PLAN.read_text("utf-8"))}
        wanted = sorted(named | _OTHER_PORTS)
        chosen = ports.reserve(self.folder / "ports.json", [f"{host}:{port}" for host, port in wanted])
        self.ports = {(host, port): chosen[f"{host}:{port}"] for host, port in wanted}
        self.plan = self.folder / "plan.toml"
        self.plan.write_text(self._plan())
        (self.folder / "logs").mkdir()

    def up(self, names: list[str]) -> None:
        """Bring services up in this order, each when what it depends on is as it demands."""
        for name in names:
            for other, how in self.every[name].get("depends_on", {}).items():
                if how["condition"] == "service_healthy":
                    self.await_health(other)
            if compose.runs_once(self.every[name]):
                self.run_once(name)
            else:
                self.start(name)

    def run_once(self, name: str) -> str:
        """Run a service that ends; return what it said."""
        ran = subprocess.run(
            self._launched(name, self._argv(name)),
            env=self._environment(name),
            capture_output=True,
            text=True,
            timeout=ONCE_TIMEOUT_S,
            check=False,
            cwd=self.folder,
        )
        assert ran.returncode == 0, f"{name}: {ran.stdout}{ran.stderr}"
        if name == "files":
            self._give_postgres_its_folders()
        return ran.stdout + ran.stderr

    def start(self, name: str) -> None:
        """Start a service that stays."""
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                self._launched(name, self._argv(name)),
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def stop(self, name: str) -> int:
        """Stop a service as an engine does; return its exit code."""
        process = self.running.pop(name)
        process.send_signal(signal.Signals[self.every[name].get("stop_signal", "SIGTERM")])
        try:
            return process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def close(self) -> None:
        """Stop what still runs, last started first."""
        for name in reversed(list(self.running)):
            self.stop(name)

    def is_healthy(self, name: str) -> bool:
        """Run a service's health check."""
        kind, *test = self.every[name]["healthcheck"]["test"]
        argv = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        check = self._mapped(name, argv)
        try:
            ran = subprocess.run(
                check, env=self._environment(name), capture_output=True, timeout=CHECK_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return ran.returncode == 0

    def await_health(self, name: str) -> None:
        """Wait until a service is healthy, and say its last words if it does not become so."""
        deadline = time.monotonic() + HEALTH_TIMEOUT_S
        while not self.is_healthy(name):
            is_gone = self.running[name].poll() is not None
            if is_gone or time.monotonic() > deadline:
                raise AssertionError(f"{name} is not healthy: {self.log(name).read_text()[-2000:]}")
            time.sleep(_POLL_S)

    def log(self, name: str) -> Path:
        """Where a service's output goes."""
        return self.folder / "logs" / f"{name}.log"

    def config(self, name: str) -> Path:
        """The folder that a service sees as its own."""
        return self.folder / "deployment" / name

    def _plan(self) -> str:
        """The deployment's plan with our ports and folders."""
        text = _ADDRESS.sub(
            lambda found: f'"localhost:{self.ports[found[1], int(found[2])]}"',
            compose.PLAN.read_text("utf-8"),
        )
        for old, new in (
            ('config = "/etc/bkdms"', f'config = "{self.folder}/deployment/{{name}}"'),
            ('data = "/var/lib/bkdms"', f'data = "{self.folder}/state/{{name}}"'),
            ("controller_port = 9093", f"controller_port = {self.ports['kafka', 9093]}"),
            ('listen = "0.0.0.0"', 'listen = "127.0.0.1"'),
            ("/sample/", f"{self.folder}/state/sample/"),
            ("/samples/", f"{compose.ROOT}/connectors/samples/"),
        ):
            assert old in text
            text = text.replace(old, new)
        return text

    def _argv(self, name: str) -> list[str]:
        service = self.every[name]
        entry = service.get("entrypoint")
        if entry is None:
            entry = compose.last(service["build"]["dockerfile"], "ENTRYPOINT").arguments
        return self._mapped(name, [*entry, *service.get("command", [])])

    def _environment(self, name: str) -> dict[str, str]:
        """The service's own environment and where its image's programs are; nothing of ours."""
        given = self.every[name].get("environment", {})
        postgres = find_programs()
        folders = [postgres.folder, distribution.find_java().parent, find_program().path.parent]
        if "build" in self.every[name]:
            folders = [Path(sys.executable).parent]
        path = ":".join([*map(str, folders), "/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"])
        mapped = dict(zip(given, self._mapped(name, list(given.values())), strict=True))
        return {"PATH": path, **postgres.environment, **mapped}

    def _mapped(self, name: str, words: list[str]) -> list[str]:
        """Replace paths, ports and addresses of a container by ours."""
        places = self._places(name)
        pattern = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
        paths = re.compile(rf"(?<![\w./-])({pattern})(?![\w-])")
        own = {str(port): str(ours) for (host, port), ours in self.ports.items() if host == name}
        found = []
        for word in words:
            text = paths.sub(lambda hit: places[hit[1]], word.replace("$$", "$"))
            for port, ours in own.items():
                text = re.sub(rf"(?<=[:/ =]){port}(?!\d)|^{port}$", ours, text)
            found.append(text.replace("0.0.0.0", "127.0.0.1"))
        return found

    def _places(self, name: str) -> dict[str, str]:
        places = {
            "/opt/kafka/libs": str(distribution.ensure().libs),
            "/bin/prometheus": str(prometheus.find_program()),
        }
        for mount in self.every[name].get("volumes", []):
            if mount["type"] == "bind":
                source = self.plan if mount["target"] == "/plan.toml" else compose.ROOT / mount["source"]
            else:
                source = self.folder / mount["source"] / mount.get("volume", {}).get("subpath", "")
            places[mount["target"]] = str(source)
        return places

    def _launched(self, name: str, argv: list[str]) -> list[str]:
        """Let the program end with us, and PostgreSQL run as its own user where we are root."""
        user = system_user() if name in ("postgres", "postgres-format") else None
        if user is None:
            return launched(argv)
        program = shutil.which(argv[0], path=self._environment(name)["PATH"]) or argv[0]
        seen = [word.replace(str(self.folder), RunAs.SEEN_AS) for word in (program, *argv[1:])]
        return launched(seen, RunAs(user, self.folder))

    def _give_postgres_its_folders(self) -> None:
        user = system_user()
        if user is None:
            return
        entry = pwd.getpwnam(user)
        for folder in (self.folder, self.folder / "deployment", self.folder / "state"):
            folder.chmod(0o711)
        for top in (self.config("postgres"), self.folder / "state" / "postgres"):
            for path in (top, *top.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        settings = self.config("postgres") / "postgresql.conf"
        settings.write_text(settings.read_text().replace(str(self.folder), RunAs.SEEN_AS))
