"""``bkdms registrar requests``: what came into the inbox over HTTP."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.apps.cli.context import emit_json, settings_of
from pipeline.apps.cli.values import read_file
from pipeline.config import required
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.adapters.request_inbox import InboxRequest
    from pipeline.core.genesis import Genesis


def requests(
    ctx: typer.Context,
    *,
    answered: Annotated[bool, typer.Option("--answered", help="Those that were answered, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """List the access requests that came over HTTP and wait for an answer, the oldest first.

    They are files in the folder access.inbox: give one to `bkdms registrar approve` or `transfer`. The answer is
    written beside it, where the API finds it for the site. Whether a token is good is judged by approving.

    Example: bkdms registrar requests
    """
    from pipeline.adapters.request_inbox import RequestInbox  # noqa: PLC0415
    from pipeline.apps.authority import load_genesis  # noqa: PLC0415

    settings = settings_of(ctx)
    folder: Path = required(settings.access.inbox, "access.inbox")
    genesis = load_genesis(settings.genesis)
    found = RequestInbox(folder, settings.access.inbox_limit).requests()
    rows = [_row(item, genesis) for item in found if answered or not item.is_answered]
    if json:
        emit_json({"requests": rows})
        return
    for row in rows:
        state = "answered" if row["answered"] else "waiting"
        backed = "with token" if row["token"] else "NO TOKEN"
        print(f"{row['came']}  {state:8}  {row['site']}  key {row['site_key']}  {backed}  {row['file']}")


def _row(item: "InboxRequest", genesis: "Genesis") -> dict[str, Any]:
    from pipeline.services.access import read_request  # noqa: PLC0415

    came = datetime.fromtimestamp(item.came_ms / 1000, UTC).isoformat(timespec="seconds")
    try:
        asked = read_request(read_file(item.path), genesis)
        told: dict[str, Any] = {
            "site": str(asked.site),
            "site_key": asked.key.fingerprint.hex(),
            "indicators": list(asked.indicators),
            "token": bool(asked.token),
            "replaces": asked.former.hex(),
        }
    except ConfigError as error:
        told = {"site": str(error), "site_key": "", "indicators": [], "token": False, "replaces": ""}
    return {"file": str(item.path), "came": came, "answered": item.is_answered, **told}
