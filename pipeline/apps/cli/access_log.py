"""``bkdms access-log``: check the API's access log, and write its head into the ledger."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.apps.cli.at_desk import JsonFlag, now_ms, report
from pipeline.apps.cli.context import settings_of

if TYPE_CHECKING:
    from pipeline.apps.access_log_check import LogReport
    from pipeline.config import Settings

_FOUND_WRONG = 1
Folder = Annotated[
    Path | None, typer.Argument(metavar="[FOLDER]", help="Folder of the log. (default: access.log)")
]

access_log = typer.Typer(
    no_args_is_help=True,
    help="The log of all requests for what the API does not show to everybody: each line carries the hash of the one "
    "before, and a head of it is in the ledger every day.",
)


@access_log.command()
def verify(
    ctx: typer.Context,
    folder: Folder = None,
    *,
    alone: Annotated[
        bool, typer.Option("--alone", help="Without the ledger: tells edits within, not a log written anew.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Check every line of the log, and that it leads to the heads in the ledger.

    Exit code 1: a line was changed, removed, added or cut off; the first is named.

    Example: bkdms access-log verify
    """
    settings = settings_of(ctx)
    found = _checked(settings, folder or settings.access.log, alone=alone)
    _report(found, json, {"alone": alone})


@access_log.command()
def anchor(
    ctx: typer.Context,
    *,
    due: Annotated[
        bool, typer.Option("--due", help="Only where the last head in the ledger is a day old.")
    ] = False,
    appoint: Annotated[
        bool, typer.Option("--appoint", help="As registrar: name the log's key first, where none is named.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Check the log and write its head into the ledger, signed with access.log_key. Run it every day.

    A log that does not lead to the heads written before is not anchored: exit code 1.

    Example: bkdms access-log anchor --due
    """
    from pipeline.apps.cli.registrar_access_log import appoint_log_key  # noqa: PLC0415

    settings = settings_of(ctx)
    if appoint:
        appoint_log_key(ctx)
    found, written = asyncio.run(_anchor(settings, due))
    _report(found, json, {"anchored": written})


def _checked(settings: "Settings", folder: Path, *, alone: bool) -> "LogReport":
    from pipeline.apps.access_log_check import check_folder, open_anchor_desk  # noqa: PLC0415
    from pipeline.apps.authority import load_genesis  # noqa: PLC0415

    if alone:
        return check_folder(folder, load_genesis(settings.genesis).chain)

    async def run() -> "LogReport":
        async with open_anchor_desk(settings) as opened:
            return check_folder(folder, opened.chain, await opened.anchored())

    return asyncio.run(run())


async def _anchor(settings: "Settings", due: bool) -> tuple["LogReport", int]:
    """Return what the check found, and up to which line the ledger now confirms the log; 0 for nothing new."""
    from pipeline.apps.access_log_check import check_folder, open_anchor_desk  # noqa: PLC0415
    from pipeline.services.access_anchor import is_due, next_anchor  # noqa: PLC0415

    async with open_anchor_desk(settings) as opened:
        anchored = await opened.anchored()
        found = check_folder(settings.access.log, opened.chain, anchored)
        body = next_anchor(found.check, anchored, now_ms())
        if found.problem is not None or body is None or (due and not is_due(anchored, now_ms())):
            return found, 0
        await opened.desk.issue(body)
        return found, body.count


def _report(found: "LogReport", json: bool, more: dict[str, Any]) -> None:
    facts = {
        "lines": found.count,
        "files": found.files,
        "confirmed": found.check.confirmed,
        "problem": found.problem,
        **more,
    }
    text = found.problem or (
        f"{found.count} lines in {found.files} files are whole; the ledger confirms them up to line "
        f"{max(found.check.confirmed, int(more.get('anchored', 0)))}"
    )
    report(facts, text, json)
    if found.problem is not None:
        raise typer.Exit(_FOUND_WRONG)
