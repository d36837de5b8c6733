"""``bkdms worker platform``: stores committed packets and publishes observations, inside the platform zone."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import settings_of
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.keys import key_vault
from pipeline.apps.observed import begin
from pipeline.apps.runtime import DeferredLoop, LoopService, WorkerOptions, run_worker
from pipeline.apps.store_database import locked_store_file, open_store
from pipeline.apps.upkeep import upkeep_of
from pipeline.config import Settings
from pipeline.core.avro import require_compiled_reader
from pipeline.core.genesis import Genesis
from pipeline.services.platform import PlatformParts, PlatformWorker


def platform_worker(settings: Settings, genesis: Genesis, connection: KafkaConnection) -> PlatformWorker:
    """Put a platform worker on Kafka, the store and the key folder of the settings together.

    Raises:
        ConfigError: a setting is wrong, the store is another chain's, or fastavro is not compiled.
        TransientError: the store can't be opened right now.
    """
    require_compiled_reader()
    topics = settings.topics
    parts = PlatformParts(
        genesis,
        KafkaPartitionReader(connection, topics.blocks, genesis.partition),
        open_store(settings.store.url, genesis),
        IdempotentProducer(connection),
        topics.observations,
        key_vault(settings).get,
        SystemClock(),
    )
    return PlatformWorker(parts, ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="signatures"))


def platform(
    ctx: typer.Context,
    *,
    name: Annotated[
        str, typer.Option(help="Name of this worker in logs and at Kafka, and of its folder.")
    ] = "platform",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Check every block, open its packets, fill the Table 10-3 store, and publish the observations.

    Needs the platform's sealing keys (platform.keys_dir) and a store (store.url). One runs per store: rows and
    position are written in one transaction. Ends on Ctrl-C or SIGTERM when the batch in hand is stored.

    Example: bkdms --config platform.toml worker platform
    """
    settings = settings_of(ctx)
    begin("platform", settings, log_level)
    genesis = load_genesis(settings.genesis)
    connection = kafka_connection(settings, name)
    options = WorkerOptions(
        name,
        settings,
        connection,
        settings.data_dir / "workers" / name,
        upkeep_of("platform", settings),
    )
    loop = DeferredLoop(lambda: platform_worker(settings, genesis, connection))
    with locked_store_file(settings.store.url):
        code = run_worker(lambda: LoopService(loop), options)
    raise typer.Exit(code)
