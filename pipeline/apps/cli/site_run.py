"""``bkdms site run`` and ``resync``: collecting and sending at a sampling site."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.services.site_agent import SiteAgent, SiteStatus

EXIT_INTERRUPTED = 130
_PROGRESS_S = 5.0
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]


def run(
    ctx: typer.Context,
    *,
    once: Annotated[
        bool,
        typer.Option("--once", help="End when the source is read and all of it is verified as committed."),
    ] = False,
    json: JsonFlag = False,
    log_level: LogLevel = "info",
) -> None:
    """Collect, encrypt, sign and send, and keep every record until its commit in the ledger is verified.

    May be stopped and killed at any time: what is not yet committed waits in the spool, and the next run goes on.
    While Kafka or the API is away, collecting goes on.

    Example: bkdms --config bridge-17.toml site run --once
    """
    settings = _prepared(ctx, log_level)

    async def work(agent: "SiteAgent") -> "SiteStatus":
        progress = asyncio.create_task(_tell_progress(agent))
        try:
            return await agent.run(until_committed=once)
        finally:
            progress.cancel()

    status = _with_agent(settings, work)
    if status is None:
        say("stopped; what is not yet committed waits in the spool")
        raise typer.Exit(EXIT_INTERRUPTED if once else 0)
    say(_line(status))
    if json:
        emit_json(_status_json(status))


def resync(
    ctx: typer.Context,
    *,
    resign: Annotated[
        bool,
        typer.Option(
            "--resign",
            help="Seal unconfirmed records again under later sequences: after a change of key or suite.",
        ),
    ] = False,
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt",
            help="Go on from the ledger's head although this spool did not make it: for a lost spool. Records that "
            "an earlier spool had sent are sent again if the source still has them.",
        ),
    ] = False,
    json: JsonFlag = False,
    log_level: LogLevel = "info",
) -> None:
    """Ask for the committed head now, forget what it confirms, and send everything else again.

    The agent does this by itself; use it after trouble. Stop `bkdms site run` of this site first.
    """
    settings = _prepared(ctx, log_level)
    status = _with_agent(settings, lambda agent: agent.resync(resign=resign, adopt=adopt))
    if status is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    say(_line(status))
    if json:
        emit_json(_status_json(status))


def _prepared(ctx: typer.Context, log_level: str) -> "Settings":
    from pipeline.telemetry import logs  # noqa: PLC0415

    settings = settings_of(ctx)
    try:
        logs.configure(log_level)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    # The agent says once that Kafka is away; aiokafka would say it at every attempt.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return settings


def _with_agent(
    settings: "Settings", work: Callable[["SiteAgent"], Awaitable["SiteStatus"]]
) -> "SiteStatus | None":
    """Run ``work``; None where Ctrl-C or SIGTERM ended it."""
    from prometheus_client import start_http_server  # noqa: PLC0415

    from pipeline.apps.observed import observe  # noqa: PLC0415
    from pipeline.apps.site_agent import open_site_agent  # noqa: PLC0415
    from pipeline.apps.upkeep import upkeep_of  # noqa: PLC0415
    from pipeline.config.transport import demand_own_machine  # noqa: PLC0415
    from pipeline.services.garbage import look_seldom  # noqa: PLC0415
    from pipeline.telemetry.metrics import WORKER_READY  # noqa: PLC0415

    observe("site", settings)
    if settings.worker.metrics_port is not None:
        demand_own_machine(settings.transport, settings.worker.metrics_host)
        start_http_server(settings.worker.metrics_port, settings.worker.metrics_host)

    async def main() -> "SiteStatus":
        async with open_site_agent(settings) as agent:
            WORKER_READY.set(1)
            look_seldom()
            upkeep = asyncio.create_task(upkeep_of("site", settings).run())
            try:
                return await work(agent)
            finally:
                upkeep.cancel()

    async def interruptible() -> "SiteStatus | None":
        task = asyncio.create_task(main())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            return await task
        return None

    return asyncio.run(interruptible())


async def _tell_progress(agent: "SiteAgent") -> None:
    told = ""
    while True:
        await asyncio.sleep(_PROGRESS_S)
        line = _line(await agent.status())
        if line != told:
            say(line)
            told = line


def _line(status: "SiteStatus") -> str:
    totals, depth = status.totals, status.depth
    waiting = f"; waiting for {' and '.join(status.waiting_for)}" if status.waiting_for else ""
    refused = f", {sum(totals.rejected.values())} fields refused" if totals.rejected else ""
    return (
        f"{totals.spooled_records} records collected{refused}, {totals.confirmed_records} verified as committed "
        f"in {totals.confirmed_packets} packets, {depth.packets} packets out{waiting}"
    )


def _status_json(status: "SiteStatus") -> dict[str, Any]:
    totals, depth = status.totals, status.depth
    return {
        "records_collected": totals.spooled_records,
        "records_committed": totals.confirmed_records,
        "packets_committed": totals.confirmed_packets,
        "rejected": dict(totals.rejected),
        "records_waiting": depth.records,
        "packets_out": depth.packets,
        "spool_bytes": depth.used_bytes,
    }
