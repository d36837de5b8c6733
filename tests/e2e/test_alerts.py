"""What an alert is for is made to happen on a whole deployment, and a real Prometheus fires it.

The rules are those that operators get, with times thirty times as short.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import pytest
import yaml

from ops.prometheus.configuration import RULES_FILE
from ops.prometheus.server import find_program
from pipeline.apps.authority import ChainPlan
from pipeline.apps.demo.scene import set_scene
from pipeline.apps.local.deployment import (
    DEFAULT_URL,
    LocalDeployment,
    LocalPlan,
)
from pipeline.apps.local.probes import worker_page
from pipeline.core.contract import Contract
from pipeline.core.errors import BkdmsError
from tests.support.alarming import EVENTS, FACTOR, THRESHOLDS, Alarming
from tests.support.prometheus import RunningPrometheus, quickened, running_prometheus

pytestmark = [pytest.mark.stack, pytest.mark.faults]
# A node that starts must reach the chain log before it is trimmed, four blocks behind the head.
PERIOD_MS: Final = 2_000
PACKET_RECORDS: Final = 25
CALM_BLOCKS: Final = 12
DEADLINE_S: Final = 1_200
# Seen to fire on made-up series alone (tests/unit/test_alerts.py): the event is a full disk or memory, a load that no
# test machine has, a second release, or takes longer than its repair.
MADE_UP_ALONE: Final = {
    "AssessmentBehind",
    "ChainLogWaiting",
    "CommitSlow",
    "DiskAlmostFull",
    "DiskFilling",
    "DiskFullSoon",
    "ExportBehind",
    "MemoryHigh",
    "MixedReleases",
    "NodeBehind",
    "PlatformKeyEnding",
    "PublishingStuck",
    "SealingWaits",
    "SpoolFilling",
    "StepsFailing",
    "SuiteEnding",
}
NAMES: Final = {
    rule["alert"]
    for group in yaml.safe_load(RULES_FILE.read_text("utf-8"))["groups"]
    for rule in group["rules"]
}


@pytest.fixture(scope="module")
async def alarmed(tmp_path_factory: pytest.TempPathFactory) -> Alarming:
    """Let everything happen once."""
    folder = tmp_path_factory.mktemp("alerts")
    rules = folder / "rules.yml"
    rules.write_text(quickened(RULES_FILE.read_text("utf-8"), FACTOR, THRESHOLDS))
    chain = ChainPlan(DEFAULT_URL, contract=Contract(period_ms=PERIOD_MS))
    plan = LocalPlan(chain, has_prometheus=True, has_postgres=True)
    deployment = LocalDeployment(folder / "d", plan, is_short_lived=True)
    await asyncio.to_thread(deployment.start)
    try:
        beside, targets = Alarming.targets(folder, deployment)
        asked = [*deployment.targets(), *targets]
        with running_prometheus(folder, asked, rules=rules, chain=deployment.genesis.origin) as prometheus:
            scene = await set_scene(deployment, PACKET_RECORDS)
            run = Alarming(deployment, scene, folder, prometheus, beside)
            # What did not come by then is missed by its own test.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEADLINE_S):
                    await _everything(run)
            return run
    finally:
        await asyncio.to_thread(deployment.stop)


async def _everything(run: Alarming) -> None:
    run.run_sites()
    await run.happens("bkdms_platform_observations_total > 100")
    measuring = asyncio.create_task(run.measure())
    try:
        await run.happens(f'max(bkdms_node_height{{stage="published"}}) > {CALM_BLOCKS}')
        run.calm = _firing(run)
        run.pages = _pages(run.deployment)
        run.unseen = {program.name for program in run.deployment.programs()} - _answering(run.deployment)
        await run.run_slow_validator()
        await _happening(run, EVENTS)
    finally:
        measuring.cancel()
    # A view judges a gap only once nothing more comes.
    await _happening(run, (Alarming.api_lost,))


async def _happening(run: Alarming, events: Iterable[Callable[[Alarming], Awaitable[None]]]) -> None:
    for event in events:
        try:
            await event(run)
        except (AssertionError, BkdmsError) as error:  # the others are to happen all the same
            run.silent[getattr(event, "__name__", "")] = str(error)


def _firing(run: Alarming) -> set[str]:
    """Return the alerts that fire, but for programs that are run later, and for this machine's disk."""
    return {
        one.name
        for one in run.prometheus.alerts()
        if one.state == "firing"
        and one.labels.get("instance") not in run.ports
        and one.labels.get("job") != "export"
        and not one.name.startswith("Disk")
    }


def _pages(deployment: LocalDeployment) -> dict[str, bytes]:
    """Return what each program shows of itself to who has the right to ask."""
    asked = {program.name: program.port for program in deployment.programs()}
    return {name: worker_page(deployment.data_dir, name, port) or b"" for name, port in asked.items()}


def _answering(deployment: LocalDeployment) -> set[str]:
    """Return the programs that the stack's own Prometheus sees."""
    assert deployment.prometheus_url is not None
    own = RunningPrometheus(deployment.prometheus_url)
    return {series.labels["instance"] for series in own.query("up == 1")}


@pytest.mark.timeout(DEADLINE_S + 120)
@pytest.mark.parametrize("name", sorted(NAMES - MADE_UP_ALONE))
async def test_an_alert_fires_when_its_event_happens(name: str, alarmed: Alarming) -> None:
    assert name in alarmed.fired, alarmed.silent.get(name, alarmed.silent)


async def test_the_stacks_own_prometheus_sees_every_program(alarmed: Alarming) -> None:
    """As `bkdms up --prometheus` runs it."""
    assert alarmed.unseen == set()


async def test_promtool_has_nothing_against_what_programs_really_show(alarmed: Alarming) -> None:
    for name, page in alarmed.pages.items():
        arguments = [str(find_program("promtool")), "check", "metrics"]
        checked = subprocess.run(arguments, input=page, capture_output=True, timeout=30, check=False)
        assert b"bkdms_build_info" in page, name
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b""), name


async def test_nothing_fires_while_all_is_well(alarmed: Alarming) -> None:
    assert alarmed.calm == set()


def test_alerts_without_an_event_are_named() -> None:
    assert MADE_UP_ALONE <= NAMES
