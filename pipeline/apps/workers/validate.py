"""``bkdms worker validate``: puts a validator together from the settings and runs it."""

from typing import Annotated, Final

import typer

from ops.kafka.topic_table import CHAIN_MESSAGE_BYTES
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.adapters.kafka_group import KafkaGroupReader
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import settings_of
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.observed import begin
from pipeline.apps.runtime import LoopService, WorkerOptions, run_worker
from pipeline.apps.upkeep import upkeep_of
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.topics import Topics
from pipeline.services.rate_limit import Rate, RateLimit
from pipeline.services.registrations import Registrations
from pipeline.services.validator import Validator

# Everything that a validator sends to a stated partition goes to the chain log, which takes this at once, and more.
_CHAIN_BATCH_BYTES: Final = CHAIN_MESSAGE_BYTES - 64 * 1024


def validator(
    genesis: Genesis, topics: Topics, connection: KafkaConnection, *, rate: Rate | None = None
) -> Validator:
    """Put a validator on Kafka together; validators of one chain share a consumer group.

    Raises:
        ConfigError: the chain log of the genesis file is not among these topics, or fastavro is not compiled.
    """
    require_compiled_reader()
    if genesis.topic != topics.chain:
        raise ConfigError(
            f"the genesis file's chain log is {genesis.topic}, but topic_prefix makes it {topics.chain}; "
            "set topic_prefix as when the chain was made"
        )
    return Validator(
        genesis,
        topics,
        reader=KafkaGroupReader(connection, topics.packets, f"bkdms-validator-{genesis.chain[:8].hex()}"),
        producer=IdempotentProducer(connection, batch_bytes=_CHAIN_BATCH_BYTES),
        registrations=Registrations(genesis, KafkaPartitionReader(connection, topics.sites)),
        clock=SystemClock(),
        rate=RateLimit(rate) if rate is not None else None,
    )


def validate(
    ctx: typer.Context,
    *,
    name: Annotated[
        str, typer.Option(help="Name of this validator in logs and at Kafka, and of its folder.")
    ] = "validator",
    rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Packets per second that one site may send; more are delayed. 0: no limit. "
            "Usually quotas.site_packets_per_s.",
        ),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            help="Packets that a site may send at once after a rest. Usually quotas.site_packets_burst."
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Let genuine packets of enrolled sites through to the chain log, and refuse the rest with a reason.

    Run as many as you like: they share the packets topic. Refused records are in kpi.rejected.v1 with their bytes.
    Ends on Ctrl-C or SIGTERM when the batch in hand is through.

    Example: bkdms --config validator.toml worker validate --name validator-2
    """
    settings = settings_of(ctx)
    own = settings.quotas
    per_s = own.site_packets_per_s if rate is None else rate
    at_once = own.site_packets_burst if burst is None else burst
    try:
        limit = Rate(per_s, at_once) if per_s else None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    begin("validator", settings, log_level)
    genesis = load_genesis(settings.genesis)
    connection = kafka_connection(settings, name)
    options = WorkerOptions(
        name,
        settings,
        connection,
        settings.data_dir / "workers" / name,
        upkeep_of("validator", settings),
    )
    code = run_worker(
        lambda: LoopService(validator(genesis, settings.topics, connection, rate=limit)), options
    )
    raise typer.Exit(code)
