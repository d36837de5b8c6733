"""What ``bkdms status`` shows: every part, its state, address, lag and heights, read from the parts themselves."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ops.child import ChildState, ChildStatus
from ops.kafka.cluster import is_broker
from ops.local_servers import POSTGRES, REDIS
from ops.lock import holder
from ops.ports import HOST, reserve
from ops.supervisor import read_children
from pipeline.adapters.listening_sockets import listening
from pipeline.apps.local.deployment import API_NAME, PROMETHEUS_NAME
from pipeline.apps.local.disk import disk_forecast
from pipeline.apps.local.expiries import read_expiries
from pipeline.apps.local.probes import worker_page
from pipeline.core.disk_forecast import DiskForecast
from pipeline.core.expiries import Expiry

_HEIGHTS = "bkdms_node_height"
_LAG_SUFFIX = ("lag_records", "lag_blocks")
# They serve no page of ours, or another one.
_WITHOUT_OURS = (REDIS, POSTGRES, API_NAME, PROMETHEUS_NAME)


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part: running or not, where it answers, how far behind it is, which heights it reached.

    ``unexpected`` is what it listens on beside its own addresses: nobody decided on that.
    """

    name: str
    state: str
    pid: int | None
    restarts: int
    cpu_seconds: float
    address: str
    lag: int | None = None
    heights: dict[str, int] = field(default_factory=dict)
    log_file: str = ""
    unexpected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StackStatus:
    """All parts, which process holds the data folder (None: nothing runs), how long the disk lasts, what ends when."""

    data_dir: str
    process: int | None
    parts: tuple[PartStatus, ...]
    disk: DiskForecast | None = None
    expiries: tuple[Expiry, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether everything runs and listens where it should."""
        return self.process is not None and all(
            part.state == ChildState.RUNNING.value and not part.unexpected for part in self.parts
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def read_status(data_dir: Path) -> StackStatus:
    """Ask every part of the stack in a data folder how it is."""
    process = holder(data_dir)
    if process is None:
        return StackStatus(str(data_dir), None, ())
    ports = {**_ports(data_dir / "ports.json"), **_ports(data_dir / "worker-ports.json")}
    parts = []
    for child in read_children(data_dir):
        port = ports.get(child.name)
        has_page = port is not None and child.name not in _WITHOUT_OURS and not is_broker(child.name)
        shown = samples(data_dir, child.name, port) if port and has_page else ()
        lag, heights = _figures(shown)
        parts.append(
            PartStatus(
                child.name,
                child.state.value,
                child.pid,
                child.restarts,
                _cpu_seconds(child),
                f"{HOST}:{port}" if port else "",
                lag,
                heights,
                child.log_file,
                _unexpected(data_dir, child, ports),
            )
        )
    expiries = read_expiries(data_dir, time.time_ns() // 1_000_000)
    return StackStatus(str(data_dir), process, tuple(parts), disk_forecast(data_dir), expiries)


def _unexpected(data_dir: Path, child: ChildStatus, ports: dict[str, int]) -> tuple[str, ...]:
    """Return what a child listens on and no port file gives to it; nothing where it can't be told."""
    found = listening(child.pid) if child.pid else None
    if found is None:
        return ()
    # A broker has a second port, kafka_controller; a Redis without TLS has a socket in its private folder instead.
    own = {f"{HOST}:{port}" for name, port in ports.items() if name.partition("_")[0] == child.name}
    own.add(str(data_dir / child.name / "redis.sock"))
    return tuple(sorted(found - own))


def _cpu_seconds(child: ChildStatus) -> float:
    """Return the CPU time of a child by now; what its supervisor wrote down is older."""
    try:
        times = psutil.Process(child.pid).cpu_times() if child.pid else None
    except psutil.Error:
        times = None
    return max(child.cpu_seconds, times.user + times.system) if times else child.cpu_seconds


def _ports(file: Path) -> dict[str, int]:
    return reserve(file, ()) if file.exists() else {}


def samples(data_dir: Path, name: str, port: int) -> Iterator[Sample]:
    """Yield every sample that the metrics page of a stack's worker shows now; none where it does not answer."""
    text = worker_page(data_dir, name, port)
    for family in text_string_to_metric_families(text.decode()) if text else ():
        yield from family.samples


def _figures(shown: Iterable[Sample]) -> tuple[int | None, dict[str, int]]:
    """Return lag in records and heights by stage from a worker's metrics."""
    lag: int | None = None
    heights: dict[str, int] = {}
    for sample in shown:
        if sample.name == _HEIGHTS:
            heights[sample.labels["stage"]] = int(sample.value)
        elif sample.name.endswith(_LAG_SUFFIX):
            lag = (lag or 0) + int(sample.value)
    return lag, heights
