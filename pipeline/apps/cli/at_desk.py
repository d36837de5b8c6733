"""What the registrar's commands share: the desk, the options, and how a result is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of

if TYPE_CHECKING:
    from pipeline.apps.desk import OpenDesk
    from pipeline.config import Settings
    from pipeline.services.access import AccessAnswer

T = TypeVar("T")
DAY_MS = 86_400_000

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]
SiteArgument = Annotated[str, typer.Argument(metavar="COUNTRY/CITY/SITE_ID", help="The site.")]
ValidDays = Annotated[
    int, typer.Option(min=1, max=31, help="Days for which sites may seal to the platform's key.")
]
AnswerDays = Annotated[
    int, typer.Option(min=1, max=365, help="Days within which the site has to take the answer up.")
]
Reason = Annotated[str, typer.Option(help="Why, for the auditors: up to 64 letters; spaces become '-'.")]
PkiFolder = Annotated[
    Path | None,
    typer.Option(
        "--pki",
        help="Folder of the transport's authorities, to answer with a certificate, too. (default: `pki` in the data "
        "folder, if there)",
    ),
]


def at_desk(ctx: typer.Context, work: "Callable[[OpenDesk], Awaitable[T]]") -> T:
    """Open the registrar's desk, do the work there, close it.

    Raises:
        ConfigError, TransientError: as for ``open_desk``, and what the work raises.
    """
    from pipeline.apps.desk import open_desk  # noqa: PLC0415

    settings = settings_of(ctx)

    async def run() -> T:
        async with open_desk(settings) as opened:
            return await work(opened)

    return asyncio.run(run())


def now_ms() -> int:
    """Return the time, GMT ms."""
    return time.time_ns() // 1_000_000


def in_days(days: int) -> int:
    """Return the time in so many days, GMT ms."""
    return now_ms() + days * DAY_MS


def pki_folder(settings: "Settings", folder: Path | None) -> Path | None:
    """Return the folder of the transport's authorities: as given, else the data folder's if it has one."""
    from ops.tls.authority import Authority  # noqa: PLC0415

    usual = settings.data_dir / "pki"
    return folder or (usual if Authority.exists(usual) else None)


def written(reason: str) -> str:
    """Return a reason as a control record takes it."""
    return reason.strip().replace(" ", "-")


def report_answer(answer: "AccessAnswer", path: Path, json: bool) -> None:
    """Tell what a site was granted."""
    newest = answer.offers[-1]
    facts = {
        "site": str(answer.site),
        "site_key": answer.site_key.hex(),
        "indicators": list(answer.indicators),
        "epoch": newest.epoch,
        "platform_key": newest.key.fingerprint.hex(),
        "has_certificate": bool(answer.certificate),
        "answer": str(path),
    }
    report(facts, f"{answer.site} is in the ledger; give the site {path}", json)


def report(facts: dict[str, Any], text: str, json: bool) -> None:
    """Tell a result as data, or to people."""
    if json:
        emit_json(facts)
    else:
        say(text)
