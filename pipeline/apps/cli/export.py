"""``bkdms export``: the ledger for outsiders, once, to where the blocks topic ends now."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pipeline.adapters.block_container import BlockContainer
from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import say, settings_of
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.workers.export import export_worker
from pipeline.core.avro import require_compiled_reader
from pipeline.services.exporter import ExportWorker
from pipeline.services.follower import Follower, follow_to_end

export = typer.Typer(
    no_args_is_help=True, help="Write the ledger for outsiders, who verify it with their own programs."
)


@export.command()
def tiles(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder to write to; an earlier export in it is continued.")],
) -> None:
    """Write C2SP tiles, entry bundles and the signed checkpoint to a folder, up to the last block.

    Needs the log's key (export.key). Any C2SP tlog-tiles client verifies the result with log.vkey and nodes.vkey.
    With export.policy the checkpoint is written when that policy's quorum holds, outside witnesses asked.

    Example: bkdms export tiles public/log
    """
    settings = settings_of(ctx)
    genesis = load_genesis(settings.genesis)
    worker = export_worker(settings, genesis, kafka_connection(settings, "export"), folder.absolute())
    height = asyncio.run(_to_end(worker))
    say(f"{folder} holds the log up to block {height}")


@export.command()
def blocks(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="File to write, such as blocks.avro; one that is there is replaced.")
    ],
) -> None:
    """Write all blocks with their certificates to one Avro container file, which any Avro tool reads.

    Every block is verified on the way; the file appears when all are in it.

    Example: bkdms export blocks blocks.avro
    """
    require_compiled_reader()
    settings = settings_of(ctx)
    genesis = load_genesis(settings.genesis)
    connection = kafka_connection(settings, "export")
    container = BlockContainer(file.absolute(), genesis)
    reader = KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition)
    try:
        asyncio.run(_follow(Follower(genesis, reader, container)))
        say(f"{file} holds {container.finish()} blocks")
    finally:
        container.discard()


async def _to_end(worker: ExportWorker) -> int:
    try:
        await worker.finish()
        return worker.follower.height
    finally:
        await worker.close()


async def _follow(follower: Follower) -> None:
    try:
        await follow_to_end(follower)
    finally:
        await follower.close()
