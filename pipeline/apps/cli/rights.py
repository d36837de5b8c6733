"""``bkdms provision rights``: the table of access for people and programs, and which rights nobody uses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.stack import DataDir
from pipeline.config import default_data_dir


def rights(
    *,
    unused: Annotated[
        bool,
        typer.Option("--unused", help="Tell which rights in Kafka nobody used while we watched."),
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long to watch.")] = 60,
    data_dir: DataDir = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Show what each role may do in Kafka, Redis, the database and the API, and what it may listen on.

    With --unused, beside a stack that `bkdms up` runs: Kafka's own log of decisions is switched on for a while, and
    what was granted and not used is named, principal by principal. What is rarely needed looks unused, too.

    Example: bkdms provision rights --unused --seconds 300
    """
    if unused:
        _tell_unused(data_dir or default_data_dir(), seconds, json=json)
        return
    rows = table_rows()
    if json:
        emit_json({"roles": rows})
        return
    shown = Table("role", "where", "what", "rights")
    for role, row in rows.items():
        for line in _lines(row):
            shown.add_row(role, *line)
    Console().print(shown)


def _lines(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield where, what and which rights of one role."""
    for topic, words in row["topics"].items():
        yield "Kafka", topic, " ".join(words)
    if row["quota"]:
        yield "Kafka", "quota", ", ".join(f"{name} {value}" for name, value in row["quota"].items())
    if row["redis"]:
        yield "Redis", "ledger", row["redis"]
    if row["database"]:
        yield "database", row["database"], "" if row["tables"] else "owner"
    for table, words in row["tables"].items():
        yield "database", table, " ".join(words)
    for scope in row["scopes"]:
        yield "API", scope, ""
    for place in row["listens"]:
        yield "listens", place, ""


def table_rows() -> dict[str, dict[str, Any]]:
    """Return the table of access as plain values, by role."""
    from dataclasses import asdict  # noqa: PLC0415

    from ops.access_table import ACCESS  # noqa: PLC0415

    return {
        role.value: {
            "topics": {topic: [word.value for word in words] for topic, words in row.topics.items()},
            "redis": None if row.redis is None else row.redis.value,
            "database": None if row.database is None else str(row.database),
            "tables": {
                name: [*right.privileges, *(f"not {column}" for column in right.hidden)]
                for name, right in row.tables.items()
            },
            "scopes": sorted(scope.value for scope in row.scopes),
            "listens": [place.value for place in row.listens],
            "quota": None if row.quota is None else asdict(row.quota),
        }
        for role, row in ACCESS.items()
    }


def _tell_unused(data_dir: Path, seconds: float, *, json: bool) -> None:
    from ops.kafka.admin import KafkaAdmin  # noqa: PLC0415
    from ops.kafka.broker import ADMIN  # noqa: PLC0415
    from ops.kafka.used_rights import unused as unused_of  # noqa: PLC0415
    from ops.kafka.used_rights import watch  # noqa: PLC0415
    from ops.local_servers import LocalServers  # noqa: PLC0415
    from ops.tls.authority import CertificateFiles  # noqa: PLC0415
    from ops.tls.holders import certificate_folder  # noqa: PLC0415
    from pipeline.apps.cli.pki import running_settings  # noqa: PLC0415
    from pipeline.config import required  # noqa: PLC0415

    bootstrap = required(running_settings(data_dir).kafka.bootstrap, "kafka.bootstrap")
    admin = KafkaAdmin(bootstrap, CertificateFiles.of(certificate_folder(data_dir, ADMIN)))
    say(f"watching Kafka's decisions for {seconds:.0f} s")
    used = watch(LocalServers.of(data_dir).brokers, seconds)
    granted = admin.bindings()
    rows = [
        {
            "principal": one.principal.removeprefix("User:"),
            "kind": _word(one.restype),
            "name": one.name,
            "operation": _word(one.operation),
        }
        for one in unused_of(granted, used)
    ]
    if json:
        emit_json({"seconds": seconds, "granted": len(granted), "used": len(used), "unused": rows})
        return
    shown = Table("principal", "kind", "name", "operation")
    for row in rows:
        shown.add_row(*row.values())
    Console().print(shown)
    say(f"{len(rows)} of {len(granted)} rights were not used in {seconds:.0f} s")


def _word(value: object) -> str:
    return str(getattr(value, "name", value)).lower()
