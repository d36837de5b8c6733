"""``bkdms tail``: what stands on a topic, decoded."""

import asyncio
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Final

import typer
from aiokafka.errors import TopicAuthorizationFailedError

from pipeline.adapters.kafka_topic import KafkaTopicReader
from pipeline.apps.cli.context import settings_of
from pipeline.apps.cli.row_output import KAFKA_FIELD, json_line, pretty_line
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.tailing import KAFKA_FIELDS, TailPlan, tail_rows
from pipeline.config import Settings
from pipeline.core.errors import ConfigError
from pipeline.core.topic_rows import Row, field_names, topic_schemas
from pipeline.core.topics import Topics
from pipeline.core.where import Condition, WhereError, parse_condition
from pipeline.telemetry import logs
from schemas import Schema

_NAMES_SHOWN: Final = 24


def tail(
    ctx: typer.Context,
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="Its name: kpi.observations.v1, or short: observations.")
    ],
    *,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="beginning, end, an offset, or a time (GMT): show what comes from there on. "
            "(default: the last rows)",
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option("-n", "--rows", min=0, help="How many rows. (default: 10; with --from: all there are)"),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more at the end, until Ctrl-C.")
    ] = False,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION", help="Show only rows that meet it: \"value > 3 and unit == 'HM'\"."
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, with every field.")
    ] = False,
) -> None:
    """Show the records of a topic, decoded by their schemas: one line a row, the broker's time and place first.

    Topics: packets, chain, blocks, rejected, cosignatures, sites, observations, assessments. Observations give a row
    for each value. Bytes are in hex. Packets stay sealed: plain values are on observations and assessments alone.
    Nothing is verified here; that is `bkdms verify`.

    A condition compares fields (as --json shows them, inner ones with dots) with 'texts' and numbers by == != < <= >
    >= in, joined by and, or, not. It needs a certificate that may read the topic; `bkdms attach` makes one.

    Example: bkdms tail observations -f --where "indicator == 'LOCAL:TRAFFIC_SPEED' and value < 30"
    """
    settings = settings_of(ctx)
    logs.configure("error")
    name = _topic(settings.topics, topic)
    schemas = topic_schemas(settings.topics)[name]
    condition = None if where is None else _condition(where, schemas)
    show = json_line if json else pretty_line
    plan = TailPlan(start, rows, follow, condition)
    try:
        asyncio.run(_print(settings, name, schemas, plan, show))
    except BrokenPipeError:
        # Whoever read our lines has enough; the interpreter would complain again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _print(
    settings: Settings,
    name: str,
    schemas: tuple[Schema, ...],
    plan: TailPlan,
    show: Callable[[Row], str],
) -> None:
    connection = kafka_connection(settings, "tail")
    reader = KafkaTopicReader(connection, name)
    try:
        async for row in tail_rows(reader, schemas, plan):
            print(show(row), flush=plan.follow)
        sys.stdout.flush()
    except ConfigError as error:
        if isinstance(error.__cause__, TopicAuthorizationFailedError):
            raise _not_ours(name) from error
        raise
    finally:
        await reader.close()


def _topic(topics: Topics, text: str) -> str:
    found = topics.named(text)
    if found is None:
        raise ConfigError(f"there is no topic {text!r}; choose from {', '.join(topics.all())}")
    return found


def _condition(text: str, schemas: tuple[Schema, ...]) -> Condition:
    """Read a condition and see that its fields can be in the topic's rows.

    Raises:
        ConfigError: it can't be read, or names a field that no row has.
    """
    try:
        condition = parse_condition(text)
    except WhereError as error:
        raise ConfigError(f"--where: {error}") from None
    known = sorted(field_names(schemas) | {f"{KAFKA_FIELD}.{name}" for name in KAFKA_FIELDS})
    for name in sorted(condition.names - set(known)):
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"fields are {', '.join(known[:_NAMES_SHOWN])}"
        raise ConfigError(f"--where: rows of this topic have no field {name}; {hint}")
    return condition


def _not_ours(topic: str) -> ConfigError:
    return ConfigError(
        f"the certificate of setting kafka.certificate may not read {topic}; make one that may, on the machine of the "
        f"stack: bkdms attach --name NAME --topics {topic} -o DIR, and then: bkdms --config DIR/bkdms.toml tail {topic}"
    )
