"""``bkdms registrar offer · amend · suspend · resume · revoke · list``: decisions on sites that are enrolled."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.apps.cli.at_desk import (
    AnswerDays,
    JsonFlag,
    PkiFolder,
    Reason,
    SiteArgument,
    T,
    ValidDays,
    at_desk,
    in_days,
    pki_folder,
    report,
    report_answer,
    written,
)
from pipeline.apps.cli.context import emit_json, settings_of
from pipeline.apps.cli.values import parse_equipment, parse_site, parse_suite, write_file

if TYPE_CHECKING:
    from pipeline.apps.desk import OpenDesk
    from pipeline.core.state import ChainState, Site
    from pipeline.services.access import AccessAnswer


def offer(
    ctx: typer.Context,
    site: SiteArgument,
    answer: Annotated[Path, typer.Option(help="Where to write the new answer for the site.")],
    answer_days: AnswerDays = 7,
    valid_days: ValidDays = 30,
    json: JsonFlag = False,
) -> None:
    """Offer a site a fresh key of the platform, of a new epoch, and write the new answer for it.

    Example: bkdms registrar offer US/unlocode:USMES/fd62:6b64:6d73:1::387 --answer bridge-17.answer.json
    """
    from pipeline.apps.deciding import reply_again  # noqa: PLC0415
    from pipeline.services.access import write_answer  # noqa: PLC0415
    from pipeline.services.registration import offer_anew  # noqa: PLC0415

    name = parse_site(site)

    async def work(opened: "OpenDesk") -> "AccessAnswer":
        reply = await reply_again(opened, name, in_days(answer_days))
        made = await offer_anew(opened.desk, name, opened.make_key, valid_to=in_days(valid_days), reply=reply)
        write_file(answer, write_answer(made, opened.signer))
        return made

    report_answer(at_desk(ctx, work), answer, json)


def amend(
    ctx: typer.Context,
    site: SiteArgument,
    *,
    answer: Annotated[Path, typer.Option(help="Where to write the new answer for the site.")],
    add_indicator: Annotated[list[str] | None, typer.Option(help="Grant this too; repeat.")] = None,
    drop_indicator: Annotated[list[str] | None, typer.Option(help="Grant this no longer; repeat.")] = None,
    add_equipment: Annotated[
        list[str] | None, typer.Option(help="Equipment behind this gateway, in IPv4/IPv6 form; repeat.")
    ] = None,
    drop_equipment: Annotated[list[str] | None, typer.Option(help="No longer for this; repeat.")] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="Cipher suites from now on; repeat. (default: as they are)")
    ] = None,
    answer_days: AnswerDays = 7,
    valid_days: ValidDays = 30,
    json: JsonFlag = False,
) -> None:
    """Change what an enrolled site may send: indicators, suites, equipment behind it; its key and sequence stay.

    Example: bkdms registrar amend US/unlocode:USMES/fd00::1 --add-indicator LOCAL:TRAVEL_TIME --answer a.json
    """
    from pipeline.apps.deciding import reply_again  # noqa: PLC0415
    from pipeline.services.access import write_answer  # noqa: PLC0415
    from pipeline.services.registration import enrolled  # noqa: PLC0415
    from pipeline.services.site_changes import Rights  # noqa: PLC0415
    from pipeline.services.site_changes import amend as amend_site  # noqa: PLC0415

    name, suites = parse_site(site), tuple(map(parse_suite, suite or ()))
    added, dropped = (tuple(map(parse_equipment, items or ())) for items in (add_equipment, drop_equipment))

    async def work(opened: "OpenDesk") -> "AccessAnswer":
        reply = await reply_again(opened, name, in_days(answer_days))
        now = enrolled(await opened.desk.settle(), name)
        rights = Rights(
            suites or now.suites,
            _changed(now.indicators, tuple(add_indicator or ()), tuple(drop_indicator or ())),
            _changed(now.equipment, added, dropped),
        )
        made = await amend_site(
            opened.desk, name, rights, opened.make_key, valid_to=in_days(valid_days), reply=reply
        )
        write_file(answer, write_answer(made, opened.signer))
        return made

    report_answer(at_desk(ctx, work), answer, json)


def suspend(ctx: typer.Context, site: SiteArgument, reason: Reason, json: JsonFlag = False) -> None:
    """Refuse a site for a while. Its key, rights and place in its chain of packets stay; nothing of it is lost.

    Example: bkdms registrar suspend US/unlocode:USMES/fd00::1 --reason "sensor under repair"
    """
    from pipeline.services.site_changes import suspend as suspend_site  # noqa: PLC0415

    name = parse_site(site)
    at_desk(ctx, lambda opened: suspend_site(opened.desk, name, written(reason)))
    report({"site": str(name), "state": "suspended"}, f"{name} is suspended", json)


def resume(ctx: typer.Context, site: SiteArgument, reason: Reason, json: JsonFlag = False) -> None:
    """Admit a suspended site again; what it kept meanwhile is admitted from where it stood.

    Example: bkdms registrar resume US/unlocode:USMES/fd00::1 --reason "sensor repaired"
    """
    from pipeline.services.site_changes import resume as resume_site  # noqa: PLC0415

    name = parse_site(site)
    at_desk(ctx, lambda opened: resume_site(opened.desk, name, written(reason)))
    report({"site": str(name), "state": "active"}, f"{name} is admitted again", json)


def revoke(
    ctx: typer.Context, site: SiteArgument, reason: Reason, pki: PkiFolder = None, json: JsonFlag = False
) -> None:
    """Refuse a site and its key for good. What it sent before stays in the ledger and stays checkable.

    Where the transport's authorities are at hand, its certificates are taken back, too, and its connections end.

    Example: bkdms registrar revoke US/unlocode:USMES/fd62:6b64:6d73:1::387 --reason "key lost"
    """
    from ops.site_transport import decertify_site  # noqa: PLC0415
    from pipeline.services.site_changes import revoke as revoke_site  # noqa: PLC0415

    name = parse_site(site)
    at_desk(ctx, lambda opened: revoke_site(opened.desk, name, written(reason)))
    folder = pki_folder(settings_of(ctx), pki)
    if folder is not None:
        decertify_site(folder, name, written(reason), datetime.now(UTC))
    report({"site": str(name), "revoked": True}, f"{name} is revoked", json)


def list_sites(ctx: typer.Context, json: JsonFlag = False) -> None:
    """Show every site that the ledger knows: state, key, suites, indicators, last packet, the platform's newest key.

    Example: bkdms registrar list
    """

    async def work(opened: "OpenDesk") -> "ChainState":
        return await opened.desk.settle()

    state = at_desk(ctx, work)
    rows = [_row(state, site) for _, site in sorted(state.tables.sites.items())]
    if json:
        emit_json({"sites": rows})
        return
    for row in rows:
        epoch = f"epoch {row['epoch']}" if row["epoch"] else "no platform key"
        print(
            f"{row['state']:9}  {row['site']}  key {row['site_key'][:16]}  {'/'.join(row['suites'])}  "
            f"{len(row['indicators'])} indicators  packet {row['sequence']}  {epoch}"
        )


COMMANDS = (offer, amend, suspend, resume, revoke)


def _changed(now: tuple[T, ...], added: tuple[T, ...], dropped: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(item for item in dict.fromkeys((*now, *added)) if item not in dropped)


def _row(state: "ChainState", site: "Site") -> dict[str, Any]:
    from pipeline.core.names import site_id_text  # noqa: PLC0415
    from pipeline.core.state import START  # noqa: PLC0415

    offers = state.tables.offers.get(site.name, ())
    standing = "suspended" if site.suspended else "active"
    return {
        "site": str(site.name),
        "state": standing if site.active else "revoked",
        "site_key": site.key.fingerprint.hex(),
        "former_key": None if site.previous is None else site.previous.fingerprint.hex(),
        "former_until_ms": site.previous_until_ms,
        "suites": [suite.name.lower() for suite in site.suites],
        "indicators": list(site.indicators),
        "equipment": [site_id_text(item) for item in site.equipment],
        "sequence": state.tables.positions.get(site.name, START).sequence,
        "epoch": offers[-1].epoch if offers else 0,
        "valid_to_ms": offers[-1].valid_to if offers else 0,
    }
