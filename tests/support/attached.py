"""A small city beside a running stack: blocks, platform worker, API, and a client's folder, for what attaches to it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from ops.ports import reserve
from ops.stack import EmbeddedStack
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Role
from pipeline.adapters.keystore import SealingKeyFolder
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.local.settings_file import write_settings
from pipeline.core.topics import Topics
from tests.integration.kafka_clients import producer
from tests.support.chain import Chain, framed
from tests.support.pages import page
from tests.support.world import World

DEADLINE_S = 90.0
SITES = 2
PACKETS = 3
VALUES = SITES * PACKETS * 2


class Lines:
    """What a program says, gathered while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.found: list[str] = []
        self._thread = Thread(target=self._gather, daemon=True)
        self._thread.start()

    def _gather(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.found.append(line.rstrip("\n"))

    def until(self, is_good: Callable[[list[str]], bool], patience_s: float = DEADLINE_S) -> list[str]:
        """Wait until the lines are good; a program that ends before fails."""
        deadline = time.monotonic() + patience_s
        while not is_good(self.found):
            if self.process.poll() is not None:
                self._thread.join(5)
                assert is_good(self.found), f"it ended, having said: {self.found[-30:]}"
                break
            assert time.monotonic() < deadline, f"not within {patience_s} s; it said: {self.found[-30:]}"
            time.sleep(0.05)
        return list(self.found)


@contextmanager
def program(argv: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> Iterator[Lines]:
    """Run a program in a folder to the end of the block, and end it."""
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Lines(process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class City:
    """What runs, and where; ``values`` is how many observations were published."""

    stack: EmbeddedStack
    topics: Topics
    folder: Path
    store_url: str
    api_store_url: str
    reader_url: str
    ports: dict[str, int] = field(default_factory=dict)
    values: int = VALUES

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"https://127.0.0.1:{self.ports['api']}"

    def settings(self, role: Role, **tables: dict[str, Any]) -> Path:
        """Write the settings file of a program of a role."""
        files = self.stack.credentials(role, "attached")
        tls = self._tls(files)
        common = {
            "data_dir": self.folder,
            "topic_prefix": self.topics.prefix,
            "genesis": self.folder / "genesis.json",
            "kafka": {"bootstrap": self.stack.kafka_bootstrap, **tls},
            "platform": {"keys_dir": self.folder / "keys"},
        }
        if role is Role.API:
            tables["api"] = {"port": self.ports["api"], **tls, "ca": files.clients}
        return write_settings(self.folder / f"{role}.toml", {**common, **tables})

    def operator_settings(self) -> Path:
        """Write what `bkdms up` writes for a person into the stack's data folder."""
        return write_settings(
            self.stack.data_dir / "bkdms.toml",
            {
                "topic_prefix": self.topics.prefix,
                "genesis": self.folder / "genesis.json",
                "kafka": {"bootstrap": self.stack.kafka_bootstrap},
                "api": {"url": self.api_url},
            },
        )

    def is_served(self, height: int) -> bool:
        """Whether the API answers and has the last block."""
        files = self.stack.credentials(Role.ANALYST, "attached")
        context = client_context(TlsFiles(files.ca, files.certificate, files.key))
        try:
            answer = httpx.get(f"{self.api_url}/health/ready", verify=context)
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and bool(answer.json()["height"] == height)

    @staticmethod
    def _tls(files: CertificateFiles) -> dict[str, Any]:
        return {"ca": files.ca, "certificate": files.certificate, "key": files.key}


def bkdms(*arguments: str) -> list[str]:
    """The command line of our program."""
    return [sys.executable, "-m", "pipeline.apps.cli", *arguments]


async def publish(city: City) -> int:
    """Put a chain with packets of two sites on the topic; return its height."""
    chain = Chain(World(topic=city.topics.chain))
    keys = SealingKeyFolder(city.folder / "keys")
    for number in range(1, SITES + 1):
        site = chain.world.site(number)
        keys.add(site.platform_key)
        chain.enrol(site)
        for value in range(PACKETS):
            chain.packets(site.packet([10 * number + value, 100 + value]))
    (city.folder / "genesis.json").write_bytes(chain.world.genesis.raw)
    async with producer(city.stack, Role.NODE, "node-0") as client:
        for certified in chain.certified:
            await client.send_and_wait(city.topics.blocks, framed(certified), partition=0)
    return len(chain.certified)


@contextmanager
def running_city(city: City, height: int) -> Iterator[City]:
    """Run platform worker and API to the end of the block; both are ready."""
    city.ports = reserve(city.folder / "ports.json", ["platform", "api"])
    platform = city.settings(
        Role.PLATFORM,
        store={"url": city.store_url},
        worker={"metrics_port": city.ports["platform"]},
    )
    api = city.settings(Role.API, store={"url": city.api_store_url})
    with ExitStack() as running:
        worker = running.enter_context(
            program(bkdms("--config", str(platform), "worker", "platform"), city.folder)
        )
        served = running.enter_context(program(bkdms("--config", str(api), "serve"), city.folder))
        published = f"bkdms_platform_published_packets_total {SITES * PACKETS:.1f}"
        worker.until(lambda _: published in page(city.stack, "attached", city.ports["platform"]))
        served.until(lambda _: city.is_served(height))
        yield city
