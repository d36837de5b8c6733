"""``bkdms bench stage validator`` and ``node``: real workers on prepared packets, beside what can't be avoided."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure, Result, append_result, bar_chart, table
from pipeline.apps.bench.stages.node import measure_node
from pipeline.apps.bench.stages.prepared import Progress
from pipeline.apps.bench.stages.validator import measure_validator
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.values import suite_option
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError

_MAX_WORKERS: Final = 4
_FLOOR_ROUNDS: Final = 3

Packets = Annotated[int, typer.Option(min=100, help="Packets that wait when the worker starts.")]
Values = Annotated[int, typer.Option(min=1, max=300, help="Values in each packet.")]
SuiteName = Annotated[str, typer.Option("--suite", help="Cipher suite: xwing, light or p256.")]
Work = Annotated[Path, typer.Option("--data", help="Folder for what is made on the way; removed afterwards.")]
FloorRounds = Annotated[int, typer.Option(min=0, help="Rounds of measuring the floor; 0: without a floor.")]
Results = Annotated[Path | None, typer.Option(help="File to append each run to, as one JSON line.")]
Plot = Annotated[Path | None, typer.Option(help="SVG file to draw the last run's CPU and floor into.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a run as data.")]
_WORK: Final = Path(".cache/bench")
_Measure = Callable[[BenchPlan, Path, Progress], tuple[Figure, ...]]


def validator(
    packets: Packets = 20_000,
    values_per_packet: Values = 1,
    suite: SuiteName = "xwing",
    data: Work = _WORK,
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
    plan, speeds = _plan(packets, values_per_packet, suite), []
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
        _tell(Result("stage validator", arguments, figures), results, plot, json=json)


def node(
    packets: Packets = 20_000,
    values_per_packet: Values = 1,
    suite: SuiteName = "xwing",
    data: Work = _WORK,
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
    plan = _plan(packets, values_per_packet, suite)
    figures = _measured(lambda plan, folder, step: measure_node(plan, folder, step, floor_rounds), plan, data)
    _tell(Result("stage node", plan.as_json(), figures), results, plot, json=json)


def _plan(packets: int, values: int, suite: str) -> BenchPlan:
    require_compiled_reader()
    return BenchPlan(packets, suite_option(suite), values, nodes=1)


def _measured(measure: _Measure, plan: BenchPlan, data: Path) -> tuple[Figure, ...]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(dir=data, prefix="stage-")
    except OSError as error:
        raise ConfigError(f"--data {data} can't be written: {error.strerror}") from None
    with work as folder, progress("packets made, and taken through", 2 * plan.entries) as step:
        return measure(plan, Path(folder), step)


def _tell(result: Result, results: Path | None, plot: Path | None, *, json: bool) -> None:
    """Append a run to the results file, draw it, and print it, where each is wanted."""
    if results is not None:
        append_result(results, result)
    if plot is not None:
        wanted = ("cpu_us_per_packet", "floor_us_per_packet")
        bar_chart(plot, result.bench, [figure for figure in result.figures if figure.name in wanted])
    if json:
        emit_json(result.as_json())
        return
    print(table(("figure", "value"), [[figure.name.replace("_", " "), figure] for figure in result.figures]))
    here = machine()
    say(f"on {here['cores']} cores of {here['cpu']}, load {here['load_before']}, Python {here['python']}")
