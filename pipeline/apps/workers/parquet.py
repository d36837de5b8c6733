"""``bkdms worker parquet``: takes the observations over into Parquet files, by city and day."""

from pathlib import Path
from typing import Annotated

import typer

from connectors.sinks.parquet import FlushPolicy, ParquetSink
from connectors.sinks.parquet_folder import OWN_FOLDER, ParquetFolder
from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.kafka import KafkaConnection
from pipeline.adapters.kafka_topic import KafkaTopicReader
from pipeline.apps.cli.context import settings_of
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.observed import begin
from pipeline.apps.runtime import DeferredLoop, LoopService, WorkerOptions, run_worker
from pipeline.apps.upkeep import upkeep_of
from pipeline.config import Settings, required
from pipeline.core.avro import require_compiled_reader


def parquet_sink(settings: Settings, connection: KafkaConnection, folder: Path) -> ParquetSink:
    """Put a Parquet sink on Kafka and a folder together.

    Raises:
        ConfigError: fastavro is not compiled.
    """
    require_compiled_reader()
    topic = settings.topics.observations
    flush = FlushPolicy(settings.parquet.flush_rows, settings.parquet.flush_ms)
    return ParquetSink(KafkaTopicReader(connection, topic), ParquetFolder(folder, topic), flush)


def parquet(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option(help="Name of this worker in logs and at Kafka.")] = "parquet",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Write all observations to Parquet files in parquet.folder: city=…/day=…/part-….parquet, each value once.

    Days are those of the measurement, in GMT. Files are committed together with the position in Kafka that they
    stand for, every parquet.flush_rows values or parquet.flush_ms: it can be killed at any moment and started again,
    and what is published twice is dropped. Files are never changed. One runs per folder. Plain values: the folder
    belongs to the platform zone.

    The certificate needs to read observations: an analyst's, or one of `bkdms attach`.

    Example: bkdms --config lake/bkdms.toml worker parquet
    """
    settings = settings_of(ctx)
    begin("parquet", settings, log_level)
    folder = required(settings.parquet.folder, "parquet.folder")
    connection = kafka_connection(settings, name)
    options = WorkerOptions(
        name,
        settings,
        connection,
        settings.data_dir / "workers" / name,
        upkeep_of("parquet", settings),
    )
    lock_folder(folder / OWN_FOLDER, "another parquet worker")
    loop = DeferredLoop(lambda: parquet_sink(settings, connection, folder))
    code = run_worker(lambda: LoopService(loop), options)
    raise typer.Exit(code)
