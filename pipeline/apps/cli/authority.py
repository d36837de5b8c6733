"""``bkdms genesis`` and ``bkdms registrar``: what the authority of a chain does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.values import gmt_ms, parse_site, parse_suite, read_file, write_file
from pipeline.core.contract import Contract, SuiteTerm
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.apps.desk import OpenDesk
    from pipeline.services.access import AccessAnswer

_T = TypeVar("_T")
_DAY_MS = 86_400_000
_CONTRACT = Contract()

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]
SiteArgument = Annotated[str, typer.Argument(metavar="COUNTRY/CITY/SITE_ID", help="The site.")]
ValidDays = Annotated[
    int, typer.Option(min=1, max=36_500, help="Days for which sites may take up the platform's key.")
]


def genesis(
    ctx: typer.Context,
    *,
    url: Annotated[str, typer.Option(help="Name of the chain: an https:// URL of yours.")],
    folder: Annotated[
        Path | None, typer.Option(help="New folder for all files. (default: `chain` in the data folder)")
    ] = None,
    nodes: Annotated[
        int, typer.Option(min=1, max=32, help="Number of accounting nodes; with ML-DSA-44 keys at most 16.")
    ] = 4,
    quorum: Annotated[
        int | None, typer.Option(help="Nodes that must agree. (default: all but a third, 3 of 4)")
    ] = None,
    mldsa44: Annotated[
        bool, typer.Option(help="Let each node cosign with a post-quantum key (ML-DSA-44), too.")
    ] = True,
    roots: Annotated[int, typer.Option(min=1, max=16, help="Number of root keys.")] = 3,
    root_threshold: Annotated[int, typer.Option(help="Root keys that must sign together.")] = 2,
    period_ms: Annotated[int, typer.Option(help="Length of a block's period, ms.")] = _CONTRACT.period_ms,
    skew_ms: Annotated[
        int, typer.Option(help="How far ahead of the broker a site's clock may be, ms.")
    ] = _CONTRACT.skew_ms,
    max_age_ms: Annotated[
        int, typer.Option(help="Age to which measurements need no backfill grant, ms.")
    ] = _CONTRACT.max_age_ms,
    suite: Annotated[
        list[str] | None, typer.Option(help="Accepted cipher suite; repeat. (default: xwing, light, p256)")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a new chain: its keys, its genesis file, and the policy that auditors check it by.

    The hash that is printed names the chain; publish it. Give each key in `keys` to its holder and delete it here:
    node keys to the accounting nodes, log.json to the exporter, registrar.json to the registrar; root keys go off-line.

    Example: bkdms genesis --url https://kpi.example.org/city1
    """
    from pipeline.apps.authority import ChainPlan, create_chain, node_names, usual_quorum  # noqa: PLC0415
    from pipeline.apps.keys import key_files  # noqa: PLC0415

    settings = settings_of(ctx)
    plan = ChainPlan(
        url,
        settings.topic_prefix,
        nodes=node_names(nodes),
        quorum=usual_quorum(nodes) if quorum is None else quorum,
        roots=roots,
        root_threshold=root_threshold,
        contract=_contract(period_ms, skew_ms, max_age_ms, suite),
        mldsa44=mldsa44,
    )
    files = create_chain(folder or settings.data_dir / "chain", plan, save=key_files(settings).save)
    made = files.genesis()
    if json:
        emit_json({"chain": made.chain.hex(), "origin": made.origin, "folder": str(files.folder)})
        return
    say(
        f"new chain in {files.folder}: {nodes} nodes, {plan.quorum} must agree; keys are in {files.folder}/keys"
    )
    print(made.chain.hex())


registrar = typer.Typer(
    no_args_is_help=True,
    help="Decide which sites may send what. Every decision is a signed record in the ledger.",
)


@registrar.command()
def approve(
    ctx: typer.Context,
    request: Annotated[Path, typer.Argument(help="Access request of the site (`bkdms site request`).")],
    *,
    answer: Annotated[
        Path | None, typer.Option(help="Where to write the answer. (default: REQUEST.answer.json)")
    ] = None,
    indicator: Annotated[
        list[str] | None, typer.Option(help="Grant only this indicator; repeat. (default: all asked for)")
    ] = None,
    valid_days: ValidDays = 365,
    json: JsonFlag = False,
) -> None:
    """Let a site in: check its request, enrol it, offer it the platform's key, and write the answer for it.

    Compare the key's fingerprint with the site's people over another way first. The command ends when the records are
    in the ledger; after a crash, run it again.

    Example: bkdms registrar approve bridge-17.request.json
    """
    from pipeline.services.access import read_request, write_answer  # noqa: PLC0415
    from pipeline.services.registration import approve as approve_request  # noqa: PLC0415

    target = answer or request.with_suffix(".answer.json")
    raw = read_file(request)

    async def work(opened: "OpenDesk") -> "AccessAnswer":
        wanted = read_request(raw, opened.genesis)
        say(f"site {wanted.site}, key {wanted.key.fingerprint.hex()}")
        granted = await approve_request(
            opened.desk,
            wanted,
            opened.make_key,
            valid_to=_in_days(valid_days),
            indicators=tuple(indicator) if indicator else None,
        )
        write_file(target, write_answer(granted, opened.signer))
        return granted

    _report_answer(_at_desk(ctx, work), target, json)


@registrar.command()
def offer(
    ctx: typer.Context,
    site: SiteArgument,
    answer: Annotated[Path, typer.Option(help="Where to write the new answer for the site.")],
    valid_days: ValidDays = 365,
    json: JsonFlag = False,
) -> None:
    """Offer a site a fresh key of the platform, of a new epoch, and write the new answer for it.

    Example: bkdms registrar offer US/unlocode:USMES/fd62:6b64:6d73:1::387 --answer bridge-17.answer.json
    """
    from pipeline.services.access import write_answer  # noqa: PLC0415
    from pipeline.services.registration import offer_anew  # noqa: PLC0415

    name = parse_site(site)

    async def work(opened: "OpenDesk") -> "AccessAnswer":
        made = await offer_anew(opened.desk, name, opened.make_key, valid_to=_in_days(valid_days))
        write_file(answer, write_answer(made, opened.signer))
        return made

    _report_answer(_at_desk(ctx, work), answer, json)


@registrar.command()
def revoke(
    ctx: typer.Context,
    site: SiteArgument,
    reason: Annotated[str, typer.Option(help="Why, for the auditors: up to 64 letters; spaces become '-'.")],
    json: JsonFlag = False,
) -> None:
    """Refuse a site from now on. What it sent before stays in the ledger and stays checkable.

    Example: bkdms registrar revoke US/unlocode:USMES/fd62:6b64:6d73:1::387 --reason "key lost"
    """
    from pipeline.core.control import Revoke  # noqa: PLC0415
    from pipeline.services.registration import enrolled  # noqa: PLC0415

    name = parse_site(site)

    async def work(opened: "OpenDesk") -> None:
        key = enrolled(await opened.desk.settle(), name).key
        await opened.desk.issue(Revoke(name, key.fingerprint, reason.strip().replace(" ", "-")))

    _at_desk(ctx, work)
    _report({"site": str(name), "revoked": True}, f"{name} is revoked", json)


@registrar.command()
def grant(
    ctx: typer.Context,
    site: SiteArgument,
    *,
    first: Annotated[datetime, typer.Option("--from", help="Earliest collecting time, GMT.")],
    last: Annotated[datetime, typer.Option("--to", help="Latest collecting time, GMT.")],
    expires: Annotated[
        datetime | None,
        typer.Option(help="GMT time after which it covers nothing more. (default: in 30 days)"),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Let a site send measurements that are older than the contract allows (backfill).

    Example: bkdms registrar grant US/unlocode:USMES/fd62:6b64:6d73:1::387 --from 2015-07-01 --to 2015-09-30
    """
    from pipeline.core.control import BackfillGrant  # noqa: PLC0415

    name = parse_site(site)
    end = _in_days(30) if expires is None else gmt_ms(expires)
    body = BackfillGrant(name, gmt_ms(first), gmt_ms(last), end)

    async def work(opened: "OpenDesk") -> None:
        await opened.desk.issue(body)

    _at_desk(ctx, work)
    _report({"site": str(name), "from_ms": body.collected_from, "to_ms": body.collected_to}, "granted", json)


def _contract(period_ms: int, skew_ms: int, max_age_ms: int, suites: list[str] | None) -> Contract:
    terms = tuple(SuiteTerm(parse_suite(name)) for name in suites) if suites else _CONTRACT.suites
    try:
        return Contract(period_ms=period_ms, skew_ms=skew_ms, max_age_ms=max_age_ms, suites=terms)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _at_desk(ctx: typer.Context, work: Callable[["OpenDesk"], Awaitable[_T]]) -> _T:
    from pipeline.apps.desk import open_desk  # noqa: PLC0415

    settings = settings_of(ctx)

    async def run() -> _T:
        async with open_desk(settings) as opened:
            return await work(opened)

    return asyncio.run(run())


def _in_days(days: int) -> int:
    return time.time_ns() // 1_000_000 + days * _DAY_MS


def _report_answer(answer: "AccessAnswer", path: Path, json: bool) -> None:
    newest = answer.offers[-1]
    facts = {
        "site": str(answer.site),
        "site_key": answer.site_key.hex(),
        "indicators": list(answer.indicators),
        "epoch": newest.epoch,
        "platform_key": newest.key.fingerprint.hex(),
        "answer": str(path),
    }
    _report(facts, f"{answer.site} is in the ledger; give the site {path}", json)


def _report(facts: dict[str, Any], text: str, json: bool) -> None:
    if json:
        emit_json(facts)
    else:
        say(text)
