"""``bkdms bench stage site`` and ``platform``: the two ends of the pipeline, where values are in clear."""

from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.apps.bench.chain_maker import open_chain
from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.floor import Database, Stage, measure_floor
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure, Result
from pipeline.apps.bench.stages.platform import measure_platform
from pipeline.apps.bench.stages.site import SitePlan, measure_site
from pipeline.apps.cli.bench_runs import WORK, Json, Plot, Results, SuiteName, Values, draw, tell, work_folder
from pipeline.apps.cli.values import suite_option
from pipeline.core.avro import require_compiled_reader
from pipeline.core.sealing import Suite

_SITES: Final = 5
Packets = Annotated[int, typer.Option(min=2, help="Packets.")]
Data = Annotated[Path, typer.Option(help="Folder for what is made; chains in it are used again.")]
WithFloor = Annotated[
    bool, typer.Option("--floor/--no-floor", help="Measure the stage's floor, too, and the ratio to it.")
]


def site(
    packets: Packets = 200,
    values_per_packet: Values = 200,
    suite: SuiteName = "xwing",
    data: Data = WORK,
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
    here, plan = machine(), SitePlan(packets, values_per_packet, suite_option(suite))
    with work_folder(data) as folder, progress("sending packets", packets) as step:
        figures = measure_site(plan, Path(folder) / "run", step)
    floor = _floor(Stage.SITE, values_per_packet, plan.suite) if with_floor else ()
    arguments = {"stage": "site", "packets": packets, "values_per_packet": values_per_packet, "suite": suite}
    run = Result("stage", arguments, (*figures, *_against(figures, floor)), machine=here)
    tell(run, results, json=json)
    _draw(run, plot)


def platform(
    packets: Packets = 1000,
    values_per_packet: Values = 200,
    suite: SuiteName = "xwing",
    data: Data = WORK,
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
    here = machine()
    plan = BenchPlan(packets, suite_option(suite), values_per_packet, sites=_SITES, is_sealed=True)
    with progress("making packets", packets) as step:
        chain = open_chain(data, plan, step)
    has_postgres = database is Database.POSTGRESQL
    with work_folder(data) as folder, progress("storing packets", packets) as step:
        figures = measure_platform(chain, Path(folder) / "run", step, has_postgres=has_postgres)
    floor = _floor(Stage.PLATFORM, values_per_packet, plan.suite, database) if with_floor else ()
    arguments = {
        "stage": "platform",
        "packets": packets,
        "values_per_packet": values_per_packet,
        "suite": suite,
        "database": database.value,
    }
    run = Result("stage", arguments, (*figures, *_against(figures, floor)), machine=here)
    tell(run, results, json=json)
    _draw(run, plot)


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


def _draw(run: Result, plot: Path | None) -> None:
    shown = [figure for figure in run.figures if figure.unit == "µs"]
    draw(plot, f"Stage {run.arguments['stage']}: µs of the processor", shown)
