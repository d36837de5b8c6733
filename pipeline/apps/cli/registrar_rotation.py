"""``bkdms registrar rotate``: fresh keys of the platform for its sites."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.apps.cli.at_desk import DAY_MS, JsonFlag, ValidDays, at_desk, in_days, now_ms
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.values import parse_site
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.apps.desk import OpenDesk
    from pipeline.services.rotation import Rotated


def rotate(
    ctx: typer.Context,
    site: Annotated[
        list[str] | None, typer.Argument(metavar="COUNTRY/CITY/SITE_ID", help="Sites to rotate now.")
    ] = None,
    *,
    due: Annotated[
        bool, typer.Option("--due", help="All sites whose key ends soon; made to be run every day.")
    ] = False,
    lead_days: Annotated[
        int, typer.Option(min=1, max=30, help="With --due: days before its end at which a key is replaced.")
    ] = 10,
    valid_days: ValidDays = 30,
    json: JsonFlag = False,
) -> None:
    """Offer sites a fresh key of the platform, of a new epoch. Running sites take it up by themselves.

    What they sealed before still opens: keep the old keys until it has all arrived. A site that takes longer than the
    lead to ask waits, with its records in its spool, until it has asked.

    Example: bkdms registrar rotate --due
    """
    from pipeline.services.rotation import rotate_due, rotate_sites  # noqa: PLC0415

    names = list(map(parse_site, site or ()))
    if due == bool(names):
        raise ConfigError("name sites to rotate, or give --due for those whose key ends soon")

    async def work(opened: "OpenDesk") -> "list[Rotated]":
        desk, make_key, now, end = opened.desk, opened.make_key, now_ms(), in_days(valid_days)
        if due:
            return await rotate_due(desk, make_key, now_ms=now, lead_ms=lead_days * DAY_MS, valid_to=end)
        return await rotate_sites(desk, make_key, names, now_ms=now, valid_to=end)

    rotated = at_desk(ctx, work)
    if json:
        emit_json({"rotated": [_facts(item) for item in rotated]})
        return
    for item in rotated:
        say(f"{item.site}: epoch {item.offer.epoch}, {item.offer.key.algorithm.name.lower()}")
    say(f"{len(rotated)} fresh keys are in the ledger" if rotated else "no key ends soon")


def _facts(item: "Rotated") -> dict[str, object]:
    return {
        "site": str(item.site),
        "epoch": item.offer.epoch,
        "algorithm": item.offer.key.algorithm.name.lower(),
        "key": item.offer.key.fingerprint.hex(),
        "valid_to_ms": item.offer.valid_to,
    }
