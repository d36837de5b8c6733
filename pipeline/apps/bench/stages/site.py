"""The site agent by itself: ``bkdms site run --once`` from a CSV file through spool and Kafka to the verified commit.

Validator, node and API are real and run beside it, since a site forgets a record only when it has verified its commit.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.tls.principal import Role
from pipeline.apps.authority import ChainPlan
from pipeline.apps.bench.live_site import let_in, source_rows
from pipeline.apps.bench.plan import site_name
from pipeline.apps.bench.report.figure import Figure
from pipeline.apps.bench.stages.process import stage_figures
from pipeline.apps.local.deployment import LocalDeployment, LocalPlan, Program
from pipeline.core.contract import Contract
from pipeline.core.errors import TransientError
from pipeline.core.sealing import Suite

_URL: Final = "https://bench.bkdms.local/site"
_PERIOD_MS: Final = 2_000
_TAIL_CHARS: Final = 300
_ROLES: Final = (Role.NODE, Role.VALIDATOR, Role.API)
_KIB_PER_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class SitePlan:
    """So many packets of so many values each, sealed by a suite."""

    packets: int
    values: int = 200
    suite: Suite = Suite.XWING


@dataclass(frozen=True, slots=True)
class _Used:
    """What one run of the agent took: processor seconds, seconds, the most memory that was resident (MiB)."""

    cpu_s: float
    wall_s: float
    peak_mib: float


class WithoutPlatform(LocalDeployment):
    """What a site needs before it forgets a record: Kafka, Redis, a validator, a node, the API."""

    def programs(self) -> list[Program]:
        """Return these programs."""
        return [program for program in super().programs() if program.role in _ROLES]


def measure_site(plan: SitePlan, folder: Path, progress: Callable[[int], None]) -> tuple[Figure, ...]:
    """Let a site's agent bring ``plan.packets`` packets into a ledger in an empty ``folder``; return what that cost.

    The agent runs twice on one spool, first for a single packet: what that run took is taken off, so that neither the
    start of Python nor connecting counts. Kafka's quota of a site bounds ``values_per_second``. ``progress`` hears of
    packets.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: the agent ended before all was committed.
    """
    chain = ChainPlan(_URL, nodes=("node-1",), quorum=1, contract=Contract(period_ms=_PERIOD_MS))
    deployment = WithoutPlatform(folder, LocalPlan(chain, validators=1))
    deployment.start()
    try:
        [site] = asyncio.run(let_in(deployment, [site_name(1)], plan.values, plan.suite))
        begins_ms = _now_ms() - (plan.packets + 1) * plan.values * 1000
        site.tell(source_rows(begins_ms, 0, plan.values))
        first = _run(site.settings)
        progress(1)
        site.tell(source_rows(begins_ms, plan.values, plan.packets * plan.values))
        rest = _run(site.settings)
        progress(plan.packets)
    finally:
        deployment.stop()
    spent = rest.cpu_s - first.cpu_s
    figures = stage_figures(plan.packets - 1, plan.values, spent, rest.wall_s, rest.peak_mib)
    return (*figures, Figure("start_up_cpu_seconds", round(first.cpu_s, 2), "s"))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _run(settings: Path) -> _Used:
    """Run the agent until all that the source holds is verified as committed."""
    argv = (sys.executable, "-m", "pipeline.apps.cli", "--config", str(settings), "site", "run", "--once")
    log = settings.with_name("agent.log")
    begun = time.perf_counter()
    with log.open("wb") as lines:
        agent = subprocess.Popen(argv, stdout=lines, stderr=lines, start_new_session=True)  # noqa: S603
        _, status, used = os.wait4(agent.pid, 0)
        agent.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - begun
    if agent.returncode:
        tail = log.read_text("utf-8", "replace")[-_TAIL_CHARS:]
        raise TransientError(f"the agent ended with code {agent.returncode}: {tail}", code="bench_site")
    return _Used(used.ru_utime + used.ru_stime, wall_s, round(used.ru_maxrss / _KIB_PER_MIB, 1))
