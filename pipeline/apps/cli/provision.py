"""``bkdms provision``: a deployment on machines and servers of one's own, or in containers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.rights import rights

Plan = Annotated[
    Path, typer.Argument(metavar="PLAN", help="TOML file of the deployment; it holds no secret.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]

provision = typer.Typer(
    no_args_is_help=True,
    help="Make ready for your own machines, servers or containers, from a plan such as ops/compose/plan.toml. "
    "Repeating a step changes nothing that is right already.",
)

provision.command()(rights)


@provision.command()
def files(
    ctx: typer.Context,
    plan: Plan,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the programs' folders go; private.")
    ],
    *,
    state: Annotated[
        Path | None, typer.Option(help="Make an empty data folder for each program and server there, too.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make authority and chain once, and for each program a folder with its settings, certificate and keys.

    Give each folder to the program that it is named after, and to no other; FOLDER/authority holds the secrets of all
    and goes off-line; the chain's keys in it are sealed under keys.passphrase_file, which goes elsewhere. Run it again
    after 20 days at the latest: certificates last 30 days and are renewed when less than a third is left; the programs
    read new ones when they start.

    Example: bkdms provision files plan.toml deployment
    """
    from pipeline.apps.keys import key_files  # noqa: PLC0415
    from pipeline.apps.provision.files import write_files  # noqa: PLC0415
    from pipeline.apps.provision.plan import read_plan  # noqa: PLC0415

    keys = key_files(settings_of(ctx))
    written = write_files(read_plan(plan), folder, now=datetime.now(UTC), state=state, keys=keys)
    if json:
        emit_json({"folder": str(folder), "changed": written.changed})
        return
    say(f"{folder} is up to date; {len(written.changed)} files changed")
    for name in written.changed:
        print(name)


@provision.command()
def servers(
    plan: Plan,
    *,
    admin: Annotated[
        Path, typer.Option(help="Folder of the admin's certificate, as `files` made it: FOLDER/admin.")
    ],
    wait_s: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for servers that are not up yet.")
    ] = 60,
) -> None:
    """Make topics and rights in Kafka, and roles and database in PostgreSQL, as the tables say.

    Redis takes its users from the file users.acl in FOLDER/redis.

    Example: bkdms provision servers plan.toml --admin deployment/admin
    """
    from pipeline.apps.provision.plan import read_plan  # noqa: PLC0415
    from pipeline.apps.provision.servers import apply_to_servers  # noqa: PLC0415

    apply_to_servers(read_plan(plan), admin, wait_s=wait_s, say=say)


@provision.command()
def show(plan: Plan) -> None:
    """Print topics, rights, users and roles as JSON, for servers that somebody else administers.

    Example: bkdms provision show plan.toml
    """
    from pipeline.apps.provision.plan import read_plan  # noqa: PLC0415
    from pipeline.apps.provision.tables import tables  # noqa: PLC0415

    emit_json(tables(read_plan(plan)))
