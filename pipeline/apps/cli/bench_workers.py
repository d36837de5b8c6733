"""``bkdms bench stage validator`` and ``node``: real workers on prepared packets, beside what can't be avoided."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure, Result
from pipeline.apps.bench.stages.node import measure_node
from pipeline.apps.bench.stages.prepared import Progress
from pipeline.apps.bench.stages.validator import measure_validator
from pipeline.apps.cli.bench_runs import (
    WORK,
    Json,
    Plot,
    Results,
    SuiteName,
    Values,
    Work,
    draw,
    tell,
    work_folder,
)
from pipeline.apps.cli.values import suite_option
from pipeline.core.avro import require_compiled_reader

_MAX_WORKERS: Final = 4
_FLOOR_ROUNDS: Final = 3

Packets = Annotated[int, typer.Option(min=100, help="Packets that wait when the worker starts.")]
FloorRounds = Annotated[int, typer.Option(min=0, help="Rounds of measuring the floor; 0: without a floor.")]
_Measure = Callable[[BenchPlan, Path, Progress], tuple[Figure, ...]]


def validator(
    packets: Packets = 20_000,
    values_per_packet: Values = 1,
    suite: SuiteName = "xwing",
    data: Work = WORK,
    *,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=1, max=_MAX_WORKERS, help="Validators, each on a core; repeat. (default: 1)"),
    ] = None,
    floor_rounds: FloorRounds = _FLOOR_ROUNDS,
    results: Results = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure validators on packets that wait in a real Kafka: CPU a packet, throughput, memory, ratio to the floor.

    Start-up is left out. With several numbers of workers also how much faster the last one is than the first.

    Example: bkdms bench stage validator --workers 1 --workers 2
    """
    here, plan, speeds = machine(), _plan(packets, values_per_packet, suite), []
    for number in workers or [1]:

        def measure(
            plan: BenchPlan, folder: Path, step: Progress, number: int = number
        ) -> tuple[Figure, ...]:
            return measure_validator(plan, folder, number, step, floor_rounds)

        figures = _measured(measure, plan, data)
        speeds.append(next(figure.value for figure in figures if figure.name == "packets_per_second"))
        if len(speeds) > 1:
            figures = (
                *figures,
                Figure(f"speed_by_that_of_{(workers or [1])[0]}", round(speeds[-1] / speeds[0], 3)),
            )
        arguments = {**plan.as_json(), "workers": number}
        run = Result("stage validator", arguments, figures, machine=here)
        tell(run, results, json=json)
        _draw(run, plot)


def node(
    packets: Packets = 20_000,
    values_per_packet: Values = 1,
    suite: SuiteName = "xwing",
    data: Work = WORK,
    *,
    floor_rounds: FloorRounds = _FLOOR_ROUNDS,
    results: Results = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure an accounting node, alone in its chain, on packets that wait in a real Kafka, with a real Redis.

    From the first packet to the last block published and read back; start-up is left out.

    Example: bkdms bench stage node --packets 50000
    """
    here, plan = machine(), _plan(packets, values_per_packet, suite)
    figures = _measured(lambda plan, folder, step: measure_node(plan, folder, step, floor_rounds), plan, data)
    run = Result("stage node", plan.as_json(), figures, machine=here)
    tell(run, results, json=json)
    _draw(run, plot)


def _plan(packets: int, values: int, suite: str) -> BenchPlan:
    require_compiled_reader()
    return BenchPlan(packets, suite_option(suite), values, nodes=1)


def _measured(measure: _Measure, plan: BenchPlan, data: Path) -> tuple[Figure, ...]:
    title = "packets made, and taken through"
    with work_folder(data) as folder, progress(title, 2 * plan.entries) as step:
        return measure(plan, Path(folder), step)


def _draw(run: Result, plot: Path | None) -> None:
    wanted = ("cpu_us_per_packet", "floor_us_per_packet")
    draw(plot, run.bench, [figure for figure in run.figures if figure.name in wanted])
