"""``bkdms worker assess``: keeps the assessments up to date as the platform's store grows, inside the platform zone."""

from functools import partial
from typing import Annotated

import typer

from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection
from pipeline.adapters.sql.assess_store import SqlAssessStore
from pipeline.apps.assess_database import lock_assessments, open_when_made
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import settings_of
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.listening import Listener
from pipeline.apps.observed import begin
from pipeline.apps.runtime import LoopService, WorkerOptions, run_worker
from pipeline.apps.upkeep import upkeep_of
from pipeline.config import Settings
from pipeline.config.assess_plan import load_plan
from pipeline.core.avro import require_compiled_reader
from pipeline.core.genesis import Genesis
from pipeline.services.assess.worker import AssessParts, AssessWorker

_MS = 1000


def assess_worker(settings: Settings, genesis: Genesis, connection: KafkaConnection) -> AssessWorker:
    """Put an assessment worker on Kafka, the store and the plan of the settings together.

    Raises:
        ConfigError: a setting or the plan is wrong, or fastavro is not compiled.
    """
    require_compiled_reader()
    return AssessWorker(
        AssessParts(
            genesis.url,
            load_plan(settings.assess.plan),
            SqlAssessStore(partial(open_when_made, settings.store.url)),
            IdempotentProducer(connection),
            settings.topics.assessments,
            settings.assess.rest_ms / _MS,
            settings.assess.poll_ms / _MS,
        )
    )


def assess(
    ctx: typer.Context,
    *,
    name: Annotated[
        str, typer.Option(help="Name of this worker in logs and at Kafka, and of its folder.")
    ] = "assess",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Assess what the platform stored: quality, availability, values and scores, by the plan of assess.plan.

    Listens to the observations topic, reads the store (store.url), writes its assessments and sends what changes to
    kpi.assessments.v1. Its position is in the store: after an absence of any length, or with another plan, it
    assesses what is missing. Ends on Ctrl-C or SIGTERM when the cells in hand are stored.

    Example: bkdms --config assess.toml worker assess
    """
    settings = settings_of(ctx)
    begin("assess", settings, log_level)
    genesis = load_genesis(settings.genesis)
    connection = kafka_connection(settings, name)
    lock_assessments(settings.store.url)
    worker = assess_worker(settings, genesis, connection)
    group = f"bkdms-assess-{genesis.chain[:8].hex()}"
    options = WorkerOptions(
        name,
        settings,
        connection,
        settings.data_dir / "workers" / name,
        upkeep_of("assess", settings),
        Listener(settings.topics.observations, group, worker.hear),
    )
    code = run_worker(lambda: LoopService(worker), options)
    raise typer.Exit(code)
