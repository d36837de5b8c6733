"""Running Debian's Prometheus on loopback, from a folder of its own.

It listens on 127.0.0.1 alone, without passwords: whoever is on this machine may look, and what it holds are
counts and times, never values of indicators.
"""

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.files import private_folder, write_private
from ops.kafka.distribution import cache_folder
from ops.ports import HOST
from ops.prometheus.configuration import EVALUATION_MS, RULES_FILE, SCRAPE_MS, Target, configuration
from pipeline.core.errors import ConfigError

RETENTION_DAYS: Final = 30
RETENTION_MB: Final = 1024
PROBE_TIMEOUT_S: Final = 2
_REMEDY: Final = "apt-get install prometheus, or run `make setup`, which unpacks it into the cache folder"


@dataclass(frozen=True, slots=True)
class PrometheusPlace:
    """Program, folder and port of one Prometheus."""

    program: Path
    folder: Path
    port: int

    @property
    def settings(self) -> Path:
        """The server's settings file."""
        return self.folder / "prometheus.yml"

    @property
    def url(self) -> str:
        """Where it answers: a person's browser, and queries."""
        return f"http://{HOST}:{self.port}"


def find_program(name: str = "prometheus") -> Path:
    """``prometheus`` or ``promtool``: the one on the path, else the one that set-up unpacked.

    Raises:
        ConfigError: it is not here; the message says how to get it.
    """
    system = shutil.which(name)
    if system:
        return Path(system)
    unpacked = cache_folder() / "prometheus" / "usr" / "bin" / name
    if unpacked.is_file():
        return unpacked
    raise ConfigError(f"no {name} here: {_REMEDY}")


def prepare(
    place: PrometheusPlace,
    targets: Iterable[Target],
    chain: str,
    *,
    rules: Path = RULES_FILE,
    scrape_ms: int = SCRAPE_MS,
    evaluation_ms: int = EVALUATION_MS,
) -> None:
    """Write its settings; a running one takes them up after SIGHUP."""
    private_folder(place.folder)
    text = configuration(targets, chain, rules=rules, scrape_ms=scrape_ms, evaluation_ms=evaluation_ms)
    write_private(place.settings, text.encode())


def command(place: PrometheusPlace) -> list[str]:
    """The arguments that run the server in the foreground."""
    return [
        str(place.program),
        f"--config.file={place.settings}",
        f"--storage.tsdb.path={place.folder / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION_DAYS}d",
        f"--storage.tsdb.retention.size={RETENTION_MB}MB",
        f"--web.listen-address={HOST}:{place.port}",
        "--log.format=json",
    ]


def is_ready(place: PrometheusPlace) -> bool:
    """Tell whether it answers queries."""
    try:
        with urllib.request.urlopen(f"{place.url}/-/ready", timeout=PROBE_TIMEOUT_S) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False
