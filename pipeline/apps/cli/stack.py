"""``bkdms up``, ``down`` and ``status``: the whole stack on this machine."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ops.lock import holder, stop_holder
from ops.signals import interruptible, wait_for_interrupt
from pipeline.apps.authority import ChainPlan, node_names, usual_quorum
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.local.addresses import read_addresses, tell_addresses
from pipeline.apps.local.deployment import DEFAULT_URL, LocalDeployment, LocalPlan
from pipeline.apps.local.status import StackStatus, read_status
from pipeline.config import default_data_dir
from pipeline.core.contract import Contract
from pipeline.core.disk_forecast import DiskForecast
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.expiries import Expiry

_START_TIMEOUT_S = 300
_STOP_TIMEOUT_S = 90
_POLL_S = 0.3
_SOON_DAYS = 30
_YEAR_DAYS = 365

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="BKDMS_DATA_DIR", help="Folder of Kafka, Redis, chain and workers."),
]


def up(
    data_dir: DataDir = None,
    nodes: Annotated[int, typer.Option(min=1, max=16, help="Accounting nodes of a new chain.")] = 4,
    validators: Annotated[int, typer.Option(min=1, max=16, help="Validators to run.")] = 2,
    period_ms: Annotated[
        int, typer.Option(min=100, help="Processing period of a new chain, in milliseconds.")
    ] = 5_000,
    url: Annotated[str, typer.Option(help="URL of a new chain (its chain ID).")] = DEFAULT_URL,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Run Prometheus beside it: metrics and alerts.")
    ] = False,
    postgres: Annotated[
        bool | None,
        typer.Option(
            "--postgres/--no-postgres",
            help="Keep the platform's store in a PostgreSQL of its own, or in a SQLite file. Default: as before.",
        ),
    ] = None,
    brokers: Annotated[
        int | None,
        typer.Option(
            help="Kafka brokers of a new data folder: 1, or 3, each with a copy of all. Default: as before, else 1."
        ),
    ] = None,
    servers: Annotated[
        bool,
        typer.Option("--servers", help="Only the servers, for `bkdms ledger` while no worker runs."),
    ] = False,
) -> None:
    """Run Kafka, Redis and all workers on this machine until Ctrl-C; a second `up` resumes the same ledger.

    Example: bkdms up --detach && bkdms status
    """
    folder = data_dir or default_data_dir()
    if detach:
        numbers = {"--nodes": nodes, "--validators": validators, "--period-ms": period_ms, "--url": url}
        switches = {"--servers": servers, "--prometheus": prometheus}
        switches |= {"--postgres": postgres is True, "--no-postgres": postgres is False}
        numbers |= {"--brokers": brokers} if brokers is not None else {}
        options = [text for name, value in numbers.items() for text in (name, str(value))]
        _detach(folder, *options, *(name for name, is_on in switches.items() if is_on))
        return
    chain = ChainPlan(
        url, nodes=node_names(nodes), quorum=usual_quorum(nodes), contract=Contract(period_ms=period_ms)
    )
    with interruptible():
        plan = LocalPlan(chain, validators, has_prometheus=prometheus, has_postgres=postgres, brokers=brokers)
        deployment = LocalDeployment(folder, plan, say=say)
        try:
            deployment.start(servers_only=servers)
            _tell_addresses(deployment)
            wait_for_interrupt()
        except KeyboardInterrupt:
            say("stopping")
        finally:
            deployment.stop()


def _tell_addresses(deployment: LocalDeployment) -> None:
    say(f"running in {deployment.data_dir}; Ctrl-C or `bkdms down` stops it")
    for label, address in tell_addresses(deployment).items():
        say(f"  {label:11} {address}")
    say(f"  {'state':11} bkdms status --data-dir {deployment.data_dir}")


def _detach(folder: Path, *options: str) -> None:
    """Run ``up`` in a session of its own and wait until every part is ready."""
    if (process := holder(folder)) is not None:
        raise ConfigError(f"{folder} is in use by process {process}: it is running already")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder / "up.log"
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as out:
        child = subprocess.Popen(  # noqa: S603  our own program
            [
                *(sys.executable, "-m", "pipeline.apps.cli", "up", "--data-dir", str(folder)),
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while b"running in" not in log.read_bytes()[begin:]:
        if child.poll() is not None or time.monotonic() > deadline:
            child.terminate()
            raise TransientError(f"the stack did not start; see {log}")
        time.sleep(_POLL_S)
    say(f"running in {folder} as process {child.pid}; `bkdms down --data-dir {folder}` stops it")


def down(data_dir: DataDir = None) -> None:
    """Stop what `bkdms up` started; ledger, keys and store stay in the data folder."""
    folder = data_dir or default_data_dir()
    say("stopped" if stop_holder(folder, _STOP_TIMEOUT_S) else f"nothing runs in {folder}")


def status(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show each part of the stack: state, address, lag in records, heights. Exit 1 if a part is missing."""
    found = read_status(data_dir or default_data_dir())
    if as_json:
        emit_json(found.as_json())
    else:
        _show(found)
    if not found.is_good:
        raise typer.Exit(1)


def _show(found: StackStatus) -> None:
    if found.process is None:
        say(f"nothing runs in {found.data_dir}; start it with: bkdms up --data-dir {found.data_dir}")
        return
    say(f"bkdms in {found.data_dir}, process {found.process}")
    console = Console()
    parts = Table(*("part", "state", "restarts", "CPU s", "address", "lag"))
    for part in found.parts:
        lag = "" if part.lag is None else str(part.lag)
        figures = (str(part.restarts), f"{part.cpu_seconds:.1f}", part.address, lag)
        parts.add_row(part.name, part.state, *figures)
    console.print(parts)
    for part in found.parts:
        for place in part.unexpected:
            say(f"WARNING: {part.name} listens on {place}, which nobody decided on")
    stages = list(dict.fromkeys(stage for part in found.parts for stage in part.heights))
    heights = Table("heights", *stages)
    for part in found.parts:
        if part.heights:
            heights.add_row(part.name, *(str(part.heights.get(stage, "")) for stage in stages))
    if stages:
        console.print(heights)
    say(f"  {'disk':9} {tell_disk(found.disk)}")
    now_ms = time.time_ns() // 1_000_000
    for expiry in found.expiries:
        say(f"  {'ends':9} {tell_expiry(expiry, now_ms)}")
    for label, address in read_addresses(Path(found.data_dir)).items():
        say(f"  {label:11} {address}")


def tell_expiry(expiry: Expiry, now_ms: int) -> str:
    """Return in one line what ends when."""
    warning = "WARNING: " if expiry.is_near(now_ms) else ""
    days = expiry.days_left(now_ms)
    when = f"in {days:,.0f} days" if days > 0 else "ended"
    others = f" (first of {expiry.others + 1})" if expiry.others else ""
    date = datetime.fromtimestamp(expiry.ends_ms / 1000, UTC)
    return f"{warning}{expiry.kind} {expiry.name}: {date:%Y-%m-%d}, {when}{others}"


def tell_disk(disk: DiskForecast | None) -> str:
    """Return the forecast of a disk in one line."""
    if disk is None:
        return "no forecast yet: the chain is younger than an hour, or its store can't be read"
    grows = (
        f"{_size(disk.free)} free; blocks grow {_size(disk.ledger_per_day)} a day, everything "
        f"{_size(disk.disk_per_day)} ({_size(disk.per_site_and_day)} a site)"
    )
    if disk.full_in_days is None:
        return f"{grows}; nothing is being added"
    days = disk.full_in_days
    last = f"{days:,.0f} days" if days < _YEAR_DAYS else f"{min(days / _YEAR_DAYS, 999):,.0f} years"
    warning = "WARNING: " if days < _SOON_DAYS else ""
    return f"{warning}{grows}; full in {last}, by the last {disk.observed_hours:,.0f} h"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
