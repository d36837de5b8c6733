"""``bkdms verify`` and ``bkdms trace``: checking a whole chain, and following one packet to its bytes."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.adapters.block_folder import block_files, read_blocks
from pipeline.adapters.kafka import KafkaConnection, KafkaPartitionReader
from pipeline.adapters.sql.engine import open_engine
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.adapters.tile_files import TileFiles
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.config import Settings, required
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.services.audit import WINDOW_BLOCKS, Auditor, AuditReport, Source, audit, topic_windows
from pipeline.services.block_source import BlockSource
from pipeline.services.tile_audit import audit_tiles
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
        Path | None,
        typer.Option(help="Folder of exported tiles: check tree, checkpoint and its signatures there."),
    ] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="The chain's genesis file. (default: the setting genesis)")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Audit the whole chain: links, roots, certificates, signatures and admission, from the genesis file on.

    Needs no secret. Names the first thing that is wrong by block, entry, field and byte, and ends with exit code 1.
    Of exported tiles it checks the tree, the log's signature and the nodes' quorum, not admission.

    Example: bkdms verify --blocks export/blocks --genesis export/genesis.json
    """
    require_compiled_reader()
    if blocks is not None and tiles is not None:
        raise ConfigError("--blocks and --tiles are two audits: give one of them")
    chain = load_genesis(genesis or settings_of(ctx).genesis)
    if tiles is not None:
        _verify_tiles(chain, tiles, json=json)
        return
    report = (
        audit_folder(chain, blocks) if blocks is not None else asyncio.run(_topic(chain, settings_of(ctx)))
    )
    if json:
        emit_json(report.as_json())
    else:
        _tell(report)
    if not report.is_good:
        raise typer.Exit(_FOUND_WRONG)


def _verify_tiles(genesis: Genesis, folder: Path, *, json: bool) -> None:
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; name one with exported tiles")
    with Progress(TextColumn("{task.completed} leaves"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        report = audit_tiles(genesis, TileFiles(folder).read, lambda count: bar.advance(task, count))
    if json:
        emit_json(report.as_json())
    elif report.finding is not None:
        print(f"BAD  {report.finding}")
    elif report.certified is not None:
        tree = report.certified.checkpoint
        print(f"good: tree of {tree.size} leaves, certified by {', '.join(report.certified.signers)}")
        print(f"root {tree.root.hex()}")
    if report.finding is not None:
        raise typer.Exit(_FOUND_WRONG)


def audit_folder(genesis: Genesis, folder: Path) -> AuditReport:
    """Audit a folder of exported blocks, with a progress bar on standard error where that is a terminal.

    Raises:
        ConfigError: there are no blocks in it, or they can't be read.
    """
    files = block_files(folder)

    async def windows() -> AsyncIterator[Sequence[Source]]:
        for at in range(0, len(files), WINDOW_BLOCKS):
            window = files[at : at + WINDOW_BLOCKS]
            yield [Source(path.name, content, height) for height, path, content in read_blocks(window)]

    return asyncio.run(_audit(genesis, windows(), len(files), strict=True))


async def _topic(genesis: Genesis, settings: Settings) -> AuditReport:
    reader = _blocks_reader(settings, genesis)
    try:
        first, end = await reader.bounds()
        return await _audit(genesis, topic_windows(reader, first, end), end - first, strict=False)
    finally:
        await reader.close()


async def _audit(
    genesis: Genesis, windows: AsyncIterator[Sequence[Source]], total: int, *, strict: bool
) -> AuditReport:
    columns = (TextColumn("auditing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("", total=total)
        auditor = Auditor(genesis, pool, strict=strict)
        return await audit(auditor, windows, lambda count: bar.advance(task, count))


def _tell(report: AuditReport) -> None:
    for skipped in report.skipped:
        say(f"no block of the chain, passed over: {skipped}")
    if report.finding is not None:
        print(f"BAD  {report.finding}")
        return
    print(
        f"good: {report.blocks} blocks, {report.packets} packets, {report.controls} control records,"
        f" {report.signatures} signatures; height {report.height}, tree of {report.tree_size} leaves"
    )
    print(f"root {report.root.hex()}")
    say(f"note: {report.as_json()['not_excluded']}")


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
    store = SqlPlatformStore(open_engine(settings.store.url), genesis)
    blocks = BlockSource(_blocks_reader(settings, genesis))
    try:
        return await trace_in_store(code, genesis.chain, store.find, blocks)
    finally:
        await blocks.close()
        store.close()


def _blocks_reader(settings: Settings, genesis: Genesis) -> KafkaPartitionReader:
    connection = KafkaConnection(
        required(settings.kafka.bootstrap, "kafka.bootstrap"), settings.kafka.tls_files(), "bkdms-audit"
    )
    return KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition)


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
