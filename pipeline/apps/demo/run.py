"""The demonstration, step by step: start, feed, attack, break, wait, prove."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.samples import sample_folder
from ops.child import ChildState, ChildStatus
from ops.tls.principal import Role
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import KafkaConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.authority import ChainPlan
from pipeline.apps.demo import commands
from pipeline.apps.demo.hostile import HostileClients
from pipeline.apps.demo.liar import Liar
from pipeline.apps.demo.scene import Scene, set_scene
from pipeline.apps.local.deployment import DEFAULT_URL, LocalDeployment, LocalPlan
from pipeline.apps.local.status import samples
from pipeline.core.contract import Contract
from pipeline.core.errors import TransientError
from pipeline.core.keys import Use
from pipeline.core.topics import Topics

Say = Callable[[str], None]
PERIOD_MS = 1_000
SITES = "sites"
_LIAR = "node-4"
_KILLED_NODE = "node-2"
_WITNESS_NODE = "node-1"
_KILLED_VALIDATOR = "validator-2"
_FIRST_DATA_HEIGHT = 2
_POLL_S = 0.5
_PACKET_RECORDS = 25
_PATIENCE_S = 120


@dataclass
class Show:
    """What the demonstration collects on its way to the report."""

    deployment: LocalDeployment
    say: Say
    began: float = field(default_factory=time.monotonic)
    scene: Scene | None = None
    hostile: HostileClients | None = None
    liar_heights: int = 0
    duplicates: int = 0
    parts: tuple[ChildStatus, ...] = ()
    sites_report: dict[str, Any] = field(default_factory=dict)

    def tell(self, text: str) -> None:
        """Tell the user what happens, with the seconds since the beginning."""
        self.say(f"{time.monotonic() - self.began:6.1f} s  {text}")


def make_show(folder: Path, say: Say) -> Show:
    """Plan a demonstration in a fresh data folder."""
    chain = ChainPlan(DEFAULT_URL, contract=Contract(period_ms=PERIOD_MS))
    plan = LocalPlan(chain, validators=2, assess_plan=sample_folder() / "assessment.toml")
    return Show(LocalDeployment(folder, plan, is_short_lived=True), say)


async def perform(show: Show) -> None:
    """Feed the ledger while parts die, lie and attack; return when all is committed and stored."""
    deployment = show.deployment
    show.tell("enrolling the sites; their rights are entries of the ledger")
    show.scene = await set_scene(deployment, _PACKET_RECORDS)
    write_plan(show)
    show.tell(f"{len(show.scene.sites)} sites begin to send")
    start_sites(show)
    show.tell(f"{_LIAR} is replaced by a liar that holds its key")
    await asyncio.to_thread(deployment.stack.supervisor.stop, _LIAR)
    liar = _liar(show)
    lying = asyncio.create_task(liar.run())
    try:
        await _feed_and_attack(show, show.scene)
    finally:
        lying.cancel()
        await lying
    show.liar_heights = liar.lies
    show.parts = deployment.stack.children()
    show.duplicates = _duplicates(deployment)
    show.sites_report = json.loads((deployment.data_dir / "sites" / "report.json").read_text("utf-8"))


async def _feed_and_attack(show: Show, scene: Scene) -> None:
    """While the sites send, let clients attack and parts die; return when everything is stored."""
    supervisor = show.deployment.stack.supervisor
    show.hostile = HostileClients(show.deployment, scene, SystemClock().now_ms())
    await until("the first packets are committed", lambda: _height(show) >= _FIRST_DATA_HEIGHT)
    show.tell("hostile clients attack")
    await show.hostile.attack()
    show.tell(f"{_KILLED_NODE} is killed: beside the liar no quorum is left until it comes back")
    await asyncio.to_thread(supervisor.kill, _KILLED_NODE)
    show.tell(f"{_KILLED_VALIDATOR} is killed for good")
    await asyncio.to_thread(supervisor.kill, _KILLED_VALIDATOR)
    await asyncio.to_thread(supervisor.restart, _KILLED_NODE)
    show.tell(f"{_KILLED_NODE} is back")
    await until("every site has verified that its last packet is committed", lambda: sites_done(show))
    show.tell("every site has verified its receipts; waiting for the store")
    await until("the platform has stored everything", lambda: is_stored(show))
    await until("every refusal is on record", lambda: _look(show))
    show.tell("everything is stored; waiting for its assessment")
    await until("everything stored is assessed", lambda: is_assessed(show))


def _port(deployment: LocalDeployment, name: str) -> int:
    return next(program.port for program in deployment.programs() if program.name == name)


def _duplicates(deployment: LocalDeployment) -> int:
    """Return how many repeated packets a node that lived all the time has dropped."""
    dropped = (
        sample.value
        for sample in samples(deployment.data_dir, _WITNESS_NODE, _port(deployment, _WITNESS_NODE))
        if sample.name == "bkdms_chain_outcomes_total" and sample.labels["outcome"] == "duplicate"
    )
    return int(sum(dropped))


def write_plan(show: Show) -> None:
    """Let the oracle read for itself what each site is told to send."""
    target = plan_file(show.deployment)
    commands.make_plan("write", "--samples", str(sample_folder()), "-o", str(target))


def plan_file(deployment: LocalDeployment) -> Path:
    """Return where the oracle's plan is: what each site was told to send."""
    return deployment.data_dir / "sites" / "plan.json"


def start_sites(show: Show) -> None:
    """Run the agents of all sites in one process, each with its own settings, spool and keys."""
    assert show.scene is not None  # noqa: S101  set before
    folder = show.deployment.data_dir / "sites"
    files = [str(actor.settings_file) for actor in show.scene.sites]
    argv = show.deployment.python("pipeline.apps.demo.sites", str(folder / "report.json"), *files)
    show.deployment.stack.run(SITES, argv, is_restarted=False, is_awaited=False)


def _liar(show: Show) -> Liar:
    deployment = show.deployment
    files = deployment.stack.credentials(Role.NODE, _LIAR)
    tls = TlsFiles(files.ca, files.certificate, files.key)
    connection = KafkaConnection(deployment.stack.kafka_bootstrap, tls, "liar")
    signer = deployment.keys.signer(deployment.chain.node_key(_LIAR), Use.NODE)
    topics = Topics(deployment.plan.chain.topic_prefix)
    return Liar(deployment.genesis, topics, connection, _LIAR, signer)


async def until(what: str, holds: Callable[[], Any]) -> None:
    """Wait for a condition.

    Raises:
        TransientError: it did not come to hold in time.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        result = await asyncio.to_thread(holds)
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        if time.monotonic() > deadline:
            raise TransientError(f"waited {_PATIENCE_S} s in vain until {what}; the logs tell more")
        await asyncio.sleep(_POLL_S)


def query(store: Path, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a question to the platform's store."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(statement).fetchall()


def _height(show: Show) -> int:
    rows = query(show.deployment.store_file, "SELECT coalesce(max(height), 0) FROM kpi_records")
    return int(rows[0][0])


def sites_done(show: Show) -> bool:
    """Tell whether the sites' process ended because everything is verified as committed.

    Raises:
        TransientError: it ended otherwise.
    """
    sites = next(child for child in show.deployment.stack.children() if child.name == SITES)
    if sites.state is ChildState.RUNNING:
        return False
    if sites.exit_code != 0:
        raise TransientError(f"the sites' process ended with {sites.exit_code}; see {sites.log_file}")
    return True


def is_stored(show: Show) -> bool:
    """Tell whether the platform's store has every packet that the sites sent."""
    report = json.loads((show.deployment.data_dir / "sites" / "report.json").read_text("utf-8"))
    expected = sum(site["packets"] for site in report["sites"])
    rows = query(show.deployment.store_file, "SELECT count(*) FROM kpi_records WHERE status = 'ok'")
    return bool(rows[0][0] >= expected)


def is_assessed(show: Show) -> bool:
    """Tell whether all blocks in the store are assessed, and all that changed was sent."""
    statement = (
        "SELECT (SELECT height FROM assess_position) = (SELECT max(height) FROM blocks)"
        " AND NOT EXISTS (SELECT 1 FROM assessments_unsent)"
    )
    return bool(query(show.deployment.store_file, statement)[0][0])


async def _look(show: Show) -> bool:
    assert show.hostile is not None  # noqa: S101  set before
    rows = query(show.deployment.store_file, "SELECT city_data, status FROM kpi_records WHERE status <> 'ok'")
    await show.hostile.look(dict(rows))
    return all(attempt.seen for attempt in show.hostile.attempts)
