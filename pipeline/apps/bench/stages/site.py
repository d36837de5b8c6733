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
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Final

from ops.tls.principal import Role
from ops.tls.site_principal import site_principal
from pipeline.apps.authority import ChainPlan
from pipeline.apps.bench.plan import INDICATOR, MODULE, site_name
from pipeline.apps.bench.report.figure import Figure
from pipeline.apps.bench.stages.process import stage_figures
from pipeline.apps.desk import open_desk
from pipeline.apps.local.deployment import LocalDeployment, LocalPlan, Program
from pipeline.apps.local.settings_file import write_settings
from pipeline.config import load_settings
from pipeline.core.contract import Contract
from pipeline.core.errors import TransientError
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS, site_id_text
from pipeline.core.sealing import SEALING_ALGORITHM, SIGNING_ALGORITHM, Suite
from pipeline.services.access import NONCE_BYTES, Moment, read_request, write_answer, write_request
from pipeline.services.registrar import enrolment, key_offer
from pipeline.services.registration import Reply, answer_for

_URL: Final = "https://bench.bkdms.local/site"
_PERIOD_MS: Final = 2_000
_ANSWER_VALID_MS: Final = 86_400_000
_VALUES: Final = 8_000
_TAIL_CHARS: Final = 300
_ROLES: Final = (Role.NODE, Role.VALIDATOR, Role.API)
_KIB_PER_MIB: Final = 1024
COLUMNS: Final = "time,speed"
MAPPING: Final = {
    "sensor": "sensor-1",
    "source": "bench",
    "quality": "accurate_measurement",
    "finished": True,
    "time": {"column": "time", "format": "iso8601"},
    "values": [{"column": "speed", "indicator": INDICATOR, "unit": "HM"}],
}


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
        settings = asyncio.run(_let_in(deployment, plan))
        source, begins_ms = _source(settings), _now_ms() - (plan.packets + 1) * plan.values * 1000
        source.write_text(COLUMNS + "\n" + source_rows(begins_ms, 0, plan.values), "ascii")
        first = _run(settings)
        progress(1)
        with source.open("a", encoding="ascii") as file:
            file.write(source_rows(begins_ms, plan.values, plan.packets * plan.values))
        rest = _run(settings)
        progress(plan.packets)
    finally:
        deployment.stop()
    spent = rest.cpu_s - first.cpu_s
    figures = stage_figures(plan.packets - 1, plan.values, spent, rest.wall_s, rest.peak_mib)
    return (*figures, Figure("start_up_cpu_seconds", round(first.cpu_s, 2), "s"))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def source_rows(begins_ms: int, first: int, count: int) -> str:
    """Return ``count`` rows of the source from row ``first`` on, one a second from ``begins_ms`` on, as text."""
    numbers = range(first, first + count)
    times = (datetime.fromtimestamp(begins_ms // 1000 + number, UTC).isoformat() for number in numbers)
    return "".join(
        f"{time_text},{number % _VALUES / 100:.2f}\n"
        for time_text, number in zip(times, numbers, strict=True)
    )


def _source(settings: Path) -> Path:
    return settings.with_name("source.csv")


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


async def _let_in(deployment: LocalDeployment, plan: SitePlan) -> Path:
    """Enrol the site, and return the settings file of its agent."""
    folder = deployment.data_dir / "site"
    folder.mkdir(mode=0o700)
    name, algorithm = site_name(1), SIGNING_ALGORITHM[plan.suite]
    signer = deployment.keys.signer_or_new(folder / "key.json", Use.SITE, algorithm)
    async with open_desk(load_settings(deployment.settings_file)) as desk:
        now_ms = _now_ms()
        raw = write_request(
            desk.genesis,
            name,
            signer,
            suites=(plan.suite,),
            indicators=(INDICATOR,),
            moment=Moment(token_bytes(NONCE_BYTES), now_ms),
        )
        request = read_request(raw, desk.genesis)
        key = desk.make_key(SEALING_ALGORITHM[plan.suite])
        await desk.desk.issue(enrolment(request), key_offer(name, 1, key, MAX_TIME_MS))
        state = await desk.desk.settle()
        reply = Reply(request.digest, now_ms, now_ms + _ANSWER_VALID_MS)
        (folder / "access.json").write_bytes(write_answer(answer_for(state, name, reply), desk.signer))
    return _write_settings(deployment, plan, folder)


def _write_settings(deployment: LocalDeployment, plan: SitePlan, folder: Path) -> Path:
    name = site_name(1)
    principal = site_principal(name)
    certificate = deployment.table(deployment.stack.credentials(principal.role, principal.name))
    return write_settings(
        folder / "bkdms.toml",
        {
            "data_dir": folder,
            "genesis": deployment.chain.genesis_file,
            "keys": deployment.keys_table(),
            "kafka": deployment.kafka_table(principal.role, principal.name),
            "api": {"url": deployment.api_url, **certificate},
            "site": {
                "country": name.country,
                "city": name.city,
                "site_id": site_id_text(name.site_id),
                "module_id": MODULE,
                "key": folder / "key.json",
                "access": folder / "access.json",
                "spool": folder / "spool.sqlite",
                "source": folder / "source.csv",
                "packet_records": plan.values,
                "mapping": MAPPING,
            },
        },
    )
