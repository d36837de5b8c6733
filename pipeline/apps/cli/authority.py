"""``bkdms genesis`` and ``bkdms registrar``: what the authority of a chain does."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.apps.cli import (
    registrar_access_log,
    registrar_inbox,
    registrar_requests,
    registrar_rotation,
    registrar_sites,
)
from pipeline.apps.cli.at_desk import JsonFlag, SiteArgument, at_desk, in_days, report
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.values import gmt_ms, parse_site, parse_suite
from pipeline.core.contract import Contract, SuiteTerm
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.apps.desk import OpenDesk

_CONTRACT = Contract()


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


for command in (*registrar_requests.COMMANDS, *registrar_sites.COMMANDS):
    registrar.command()(command)
registrar.command("list")(registrar_sites.list_sites)
registrar.command()(registrar_inbox.requests)
registrar.command()(registrar_rotation.rotate)
registrar.command()(registrar_access_log.access_log_key)


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
    end = in_days(30) if expires is None else gmt_ms(expires)
    body = BackfillGrant(name, gmt_ms(first), gmt_ms(last), end)

    async def work(opened: "OpenDesk") -> None:
        await opened.desk.issue(body)

    at_desk(ctx, work)
    report({"site": str(name), "from_ms": body.collected_from, "to_ms": body.collected_to}, "granted", json)


def _contract(period_ms: int, skew_ms: int, max_age_ms: int, suites: list[str] | None) -> Contract:
    terms = tuple(SuiteTerm(parse_suite(name)) for name in suites) if suites else _CONTRACT.suites
    try:
        return Contract(period_ms=period_ms, skew_ms=skew_ms, max_age_ms=max_age_ms, suites=terms)
    except ValueError as error:
        raise ConfigError(str(error)) from None
