"""``bkdms verify`` and ``bkdms trace``: checking a whole chain, and following one packet to its bytes."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.adapters.sql.engine import open_existing
from pipeline.adapters.sql.packets import SqlPackets
from pipeline.apps.anchors import read_anchors
from pipeline.apps.audit_run import (
    AuditOptions,
    audit_folder,
    audit_tiles,
    audit_topic,
    kafka_reader,
    opened_tiles,
)
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.store_output import tell_store, with_store
from pipeline.apps.store_check import store_audit
from pipeline.config import Settings
from pipeline.config.transport import demand_tls
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.services.audit_report import AuditReport
from pipeline.services.block_source import BlockSource
from pipeline.services.store_audit import StoreReport
from pipeline.services.trace import TraceProblem, find_code, trace_in_store

_FOUND_WRONG: Final = 1


def verify(
    ctx: typer.Context,
    *,
    blocks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of exported blocks (00000001.block, …). (default: the blocks topic in Kafka)"
        ),
    ] = None,
    tiles: Annotated[
        str | None, typer.Option(help="Folder or URL of an exported log (C2SP tlog-tiles).")
    ] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="The chain's genesis file. (default: the setting genesis)")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="File to keep the audit's progress in; one that is there is where it goes on."),
    ] = None,
    trusted: Annotated[
        list[Path] | None,
        typer.Option(
            help="Older checkpoint, proof or site's receipt that was kept: is this still that history? (repeatable)"
        ),
    ] = None,
    against_store: Annotated[
        bool,
        typer.Option("--against-store", help="Compare every row of the platform's store (store.url), too."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Audit the whole chain: links, roots, certificates, signatures and admission, from the genesis file on.

    Names the first thing that is wrong by block, entry, field and byte, and ends with exit code 1. Needs no secret, but
    for --against-store the platform's sealing keys, as far as they are still there. Uses all cores.

    From Kafka, the last blocks are also derived again from the chain log, as far as it is still there. An exported log
    holds the last certificate alone, which vouches for all blocks before it.

    Whoever holds all keys can write another history that is good by itself: only what somebody kept of the true one
    (--trusted) tells.

    Example: bkdms verify --blocks export/blocks --genesis export/genesis.json --trusted kept-checkpoint
    """
    require_compiled_reader()
    if blocks is not None and tiles is not None:
        raise ConfigError("--blocks and --tiles are two audits: give one of them")
    if against_store and (tiles is not None or resume is not None):
        raise ConfigError(
            "--against-store needs whole blocks from the first on: leave out --tiles and --resume"
        )
    chain = load_genesis(genesis or settings_of(ctx).genesis)
    options = AuditOptions(tuple(read_anchors(chain, trusted or ())), resume)
    store: StoreReport | None = None
    if against_store:
        # Opened before anybody asks where the topic ends, so that the store can't be ahead of it.
        with store_audit(settings_of(ctx), chain) as rows:

            def compare(data: bytes, position: int) -> None:
                rows.take(data, position if blocks is None else None)

            report = _audited(ctx, chain, blocks, tiles, replace(options, on_block=compare))
            store = rows.finish(report.topic_end) if report.is_good else None
    else:
        report = _audited(ctx, chain, blocks, tiles, options)
    if json:
        emit_json(report.as_json() if store is None else with_store(report, store))
    else:
        _tell(report)
        tell_store(report, store, is_asked=against_store)
    if not report.is_good or (store is not None and not store.is_good):
        raise typer.Exit(_FOUND_WRONG)


def _audited(
    ctx: typer.Context, chain: Genesis, blocks: Path | None, tiles: str | None, options: AuditOptions
) -> AuditReport:
    if blocks is not None:
        return audit_folder(chain, blocks, options)
    if tiles is not None:
        if tiles.startswith("http://"):
            insecure = settings_of(ctx).transport.insecure_tiles
            demand_tls(tiles, insecure, "transport.insecure_tiles", "the log at")
        with opened_tiles(tiles) as read:
            return audit_tiles(chain, read, tiles, options)
    return asyncio.run(audit_topic(chain, settings_of(ctx), options))


def _tell(report: AuditReport) -> None:
    for skipped in report.skipped:
        say(f"no block of the chain, passed over: {skipped}")
    if report.resumed_after:
        say(f"note: blocks 1 to {report.resumed_after} were audited by an earlier run")
    if report.finding is not None:
        print(f"BAD  {report.finding}")
        return
    by = f", certified by {', '.join(report.certified_by)}" if report.certified_by else ""
    print(
        f"good: {report.blocks} blocks, {report.packets} packets, {report.controls} control records,"
        f" {report.signatures} signatures; height {report.height}, tree of {report.tree_size} leaves{by}"
    )
    for height, what in report.decisions:
        print(f"decided in block {height}: {what}")
    print(f"root {report.root.hex()}")
    print(
        f"last block: {report.last_length} bytes at {report.chain_bytes - report.last_length} of all blocks"
    )
    if report.log_blocks is not None:
        say(
            f"note: {report.log_blocks} of {report.height} blocks were derived again from what the chain log holds"
        )
    if report.log_missing:
        say(
            f"note: the chain log ends {report.log_missing} records before what the last block consumed:"
            " it was cut or replaced"
        )
    for verdict in report.anchors.verdicts:
        print(f"agrees with {verdict.anchor.name}: {verdict.anchor.kind} of {verdict.anchor.size} leaves")
    if report.not_excluded is not None:
        say(f"note: {report.not_excluded}")


def trace(
    ctx: typer.Context,
    *,
    code: Annotated[str, typer.Argument(help="Tracing code, such as 5K2V0Q8D-1F-3-7.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Show where a value came from: site, time, block and offsets, and compare the packet's bytes there.

    Reads the platform's store (store.url), so it shows plain values and runs in the platform zone; the block's bytes
    come from Kafka. Exit code 1: there is no such packet, or stored and committed bytes differ.

    Example: bkdms trace 5K2V0Q8D-1F-3-7 --json
    """
    settings = settings_of(ctx)
    chain = load_genesis(settings.genesis)
    found = find_code(code, chain.chain)
    if found is TraceProblem.MISTYPED:
        raise ConfigError(found.advice)
    document = asyncio.run(_trace(code, chain, settings))
    if isinstance(document, TraceProblem):
        say(f"{code}: {document.advice}")
        raise typer.Exit(_FOUND_WRONG)
    if json:
        emit_json(document)
    else:
        _tell_trace(document)
    if not document["bytes_match"]:
        raise typer.Exit(_FOUND_WRONG)


async def _trace(code: str, genesis: Genesis, settings: Settings) -> dict[str, Any] | TraceProblem:
    store = SqlPackets(open_existing(settings.store.url), genesis)
    blocks = BlockSource(kafka_reader(settings, genesis, settings.topics.blocks))
    try:
        return await trace_in_store(code, genesis.chain, store.find, blocks)
    finally:
        await blocks.close()
        store.close()


def _tell_trace(document: dict[str, Any]) -> None:
    place = f"{document['country']}/{document['city']}/{document['site_id']}"
    data, block = document["data_recorder"], document["block_recorder"]
    rows = [
        ("site", f"{place}, module {document['module_id']}, packet {document['sequence']}"),
        ("admitted", _gmt(document["admitted"])),
        ("block", f"height {document['height']}, entry {document['entry']}, hash {document['block_hash']}"),
        ("data recorder", f"{data['length']} bytes at {data['offset']} of the block"),
        ("block recorder", f"{block['length']} bytes at {block['offset']} of all blocks"),
        ("check code", document["check_code"]),
        ("content", " ".join(filter(None, (document["status"], document["reason"])))),
    ]
    for name, text in rows:
        print(f"{name:<15} {text}")
    for value in document["values"]:
        point = f" {value['data_point']}" if value["data_point"] else ""
        print(
            f"{'value':<15} {_gmt(value['time'])}  {value['indicator']}{point} = {value['exact']} {value['unit']}"
            f"  (quality {value['quality'] or 'not stated'}, {value['sensor'] or 'no sensor named'})"
        )
    for name, is_same in document["matches"].items():
        print(f"{name.replace('_', ' '):<15} {'as committed' if is_same else 'DIFFERS from the ledger'}")


def _gmt(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
