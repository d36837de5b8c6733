"""``bkdms worker platform``: the smart city platform's worker, put together from the settings."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine, make_url

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.adapters.keystore import SealingKeyFolder
from pipeline.adapters.sql.engine import open_sqlite
from pipeline.adapters.sql.store import SqlPlatformStore
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import settings_of
from pipeline.apps.runtime import LoopService, WorkerOptions, run_worker
from pipeline.config import Settings, required
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError
from pipeline.services.platform import PlatformParts, PlatformWorker
from pipeline.telemetry import logs

_NAME = "platform"
_BATCH_BYTES = 1 << 20


def open_store(settings: Settings) -> Engine:
    """Return an engine on the store that the settings name.

    Raises:
        ConfigError: it is no SQLite file.
    """
    url = make_url(settings.store.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise ConfigError("store.url must name a SQLite file, such as sqlite:////var/lib/bkdms/store.sqlite")
    return open_sqlite(Path(url.database))


def platform(
    ctx: typer.Context,
    *,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Check committed blocks, open their packets, fill the Table 10-3 store, publish observations.

    It belongs to the platform zone: its store and topic hold plain values. One runs per store; it resumes where
    the store ends.

    Example: bkdms --config bkdms.toml worker platform
    """
    settings = settings_of(ctx)
    logs.configure(log_level)
    require_compiled_reader()
    genesis = load_genesis(settings.genesis)
    bootstrap = required(settings.kafka.bootstrap, "kafka.bootstrap")
    connection = KafkaConnection(bootstrap, settings.kafka.tls_files(), f"bkdms-{_NAME}")
    keys = SealingKeyFolder(settings.platform.keys_dir)
    engine = open_store(settings)

    def service() -> LoopService:
        parts = PlatformParts(
            genesis,
            KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition),
            SqlPlatformStore(engine, genesis),
            IdempotentProducer(connection, max_batch_bytes=_BATCH_BYTES),
            settings.topics.observations,
            keys.get,
            SystemClock(),
        )
        return LoopService(PlatformWorker(parts, ThreadPoolExecutor(os.cpu_count() or 1)))

    options = WorkerOptions(
        _NAME,
        settings.worker.metrics_host,
        settings.worker.metrics_port,
        connection,
        settings.data_dir / "workers" / _NAME,
    )
    raise typer.Exit(run_worker(service, options))
