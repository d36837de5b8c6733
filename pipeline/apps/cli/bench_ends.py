"""``bkdms bench stage site`` and ``platform``: the two ends of the pipeline, where values are in clear."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.apps.bench.chain_maker import open_chain
from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.floor import Database, Stage, measure_floor
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure, Result, append_result, bar_chart, table
from pipeline.apps.bench.stages.platform import measure_platform
from pipeline.apps.bench.stages.site import SitePlan, measure_site
from pipeline.apps.cli.context import emit_json
from pipeline.apps.cli.values import suite_option
from pipeline.core.avro import require_compiled_reader
from pipeline.core.sealing import Suite

DATA: Final = Path(".cache/bench")
_SITES: Final = 5
Packets = Annotated[int, typer.Option(min=2, help="Packets.")]
Values = Annotated[int, typer.Option("--values-per-packet", min=1, max=300, help="Values in each packet.")]
SuiteName = Annotated[str, typer.Option("--suite", help="Cipher suite: xwing, light or p256.")]
Data = Annotated[Path, typer.Option(help="Folder for what is made; chains in it are used again.")]
Results = Annotated[Path | None, typer.Option(help="File to append the run to, as one JSON line.")]
Plot = Annotated[Path | None, typer.Option(help="SVG file to draw into.")]
WithFloor = Annotated[
    bool, typer.Option("--floor/--no-floor", help="Measure the stage's floor, too, and the ratio to it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]


def site(
    packets: Packets = 200,
    values_per_packet: Values = 200,
    suite: SuiteName = "xwing",
    data: Data = DATA,
    *,
    with_floor: WithFloor = True,
    results: Results = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure a site's agent: rows of a file through spool and Kafka until their commit is verified.

    The agent is the real one, in a process of its own, with its spool on the disk; a validator, a node and the API run
    beside it. The start of the program is taken off. Kafka lets a site send 256 KiB a second, which bounds the rate.

    Example: bkdms bench stage site --packets 200
    """
    plan = SitePlan(packets, values_per_packet, suite_option(suite))
    with _folder(data, "site-") as folder, progress("sending packets", packets) as step:
        figures = measure_site(plan, Path(folder) / "run", step)
    floor = _floor(Stage.SITE, values_per_packet, plan.suite) if with_floor else ()
    arguments = {"stage": "site", "packets": packets, "values_per_packet": values_per_packet, "suite": suite}
    _tell(arguments, (*figures, *_against(figures, floor)), results, plot, json=json)


def platform(
    packets: Packets = 1000,
    values_per_packet: Values = 200,
    suite: SuiteName = "xwing",
    data: Data = DATA,
    *,
    database: Annotated[Database, typer.Option(help="Where the store is.")] = Database.SQLITE,
    with_floor: WithFloor = True,
    results: Results = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure the platform worker: blocks from Kafka checked, opened, stored, their observations handed out.

    The worker is the real one, in a process of its own, on a chain whose packets hold really sealed records. The first
    blocks are not measured. The processor time of the database is told apart.

    Example: bkdms bench stage platform --packets 1000 --database postgresql
    """
    require_compiled_reader()
    plan = BenchPlan(packets, suite_option(suite), values_per_packet, sites=_SITES, is_sealed=True)
    with progress("making packets", packets) as step:
        chain = open_chain(data, plan, step)
    has_postgres = database is Database.POSTGRESQL
    with _folder(data, "platform-") as folder, progress("storing packets", packets) as step:
        figures = measure_platform(chain, Path(folder) / "run", step, has_postgres=has_postgres)
    floor = _floor(Stage.PLATFORM, values_per_packet, plan.suite, database) if with_floor else ()
    arguments = {
        "stage": "platform",
        "packets": packets,
        "values_per_packet": values_per_packet,
        "suite": suite,
        "database": database.value,
    }
    _tell(arguments, (*figures, *_against(figures, floor)), results, plot, json=json)


def _folder(data: Path, prefix: str) -> tempfile.TemporaryDirectory[str]:
    data.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=data, prefix=prefix)


def _floor(
    stage: Stage, values: int, suite: Suite, database: Database = Database.SQLITE
) -> tuple[Figure, ...]:
    with progress("measuring the floor", None) as step:
        return measure_floor(stage, values, suite, database=database, progress=step).figures()


def _against(figures: tuple[Figure, ...], floor: tuple[Figure, ...]) -> tuple[Figure, ...]:
    """Return the floor's figures and the ratio of the measured to it; nothing where it was not measured."""
    if not floor:
        return ()
    spent = next(figure.value for figure in figures if figure.name == "cpu_us_per_packet")
    least = next(figure.value for figure in floor if figure.name == "floor_us_per_packet")
    return (*floor, Figure("ratio", round(spent / least, 3)))


def _tell(
    arguments: dict[str, Any],
    figures: tuple[Figure, ...],
    results: Path | None,
    plot: Path | None,
    *,
    json: bool,
) -> None:
    """Append, draw and print a run as the user wants it."""
    result = Result("stage", arguments, figures)
    if results is not None:
        append_result(results, result)
    if plot is not None:
        shown = [figure for figure in figures if figure.unit == "µs"]
        bar_chart(plot, f"Stage {arguments['stage']}: µs of the processor", shown)
    if json:
        emit_json(result.as_json())
        return
    print(table(("figure", "value"), [(figure.name.replace("_", " "), figure) for figure in figures]))
    here = machine()
    print(f"on {here['cores']} cores of {here['cpu']}, load {here['load_before']}")
