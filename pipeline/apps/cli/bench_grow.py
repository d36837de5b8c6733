"""``bkdms bench grow``: what a packet costs as a ledger grows."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.load.grow import measure_point
from pipeline.apps.bench.load.growth import COST, Point, costs, points, slope
from pipeline.apps.bench.report import Result, Series, append_result, line_chart, read_results, table
from pipeline.apps.cli.bench_runs import WORK, Json, Plot, Work, tell_machine, work_folder
from pipeline.apps.cli.context import emit_json, say
from pipeline.core.avro import require_compiled_reader

_RESULTS = Path(".cache/bench/grow.jsonl")


class Axis(StrEnum):
    """Along what a ledger grows."""

    ENTRIES = "entries"
    SITES = "sites"
    CHAINS = "chains"


def grow(
    axis: Annotated[list[Axis] | None, typer.Option(help="What grows; repeat. (default: all three)")] = None,
    packets: Annotated[int, typer.Option(min=1, help="Packets measured at each size.")] = 10_000,
    up_to: Annotated[
        int | None,
        typer.Option(min=1, help="Largest size. (default: 10⁶ entries, 10⁵ sites, 16 chains)"),
    ] = None,
    data: Work = WORK,
    *,
    results: Annotated[
        Path, typer.Option(help="File that keeps what is measured; sizes in it are not measured again.")
    ] = _RESULTS,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure what a packet of one value costs all programs together as entries, sites or chains grow in number.

    Each size is a ledger of its own, sealed from nothing by real programs; its last packets count. A million entries
    take some half an hour on two free cores. Interrupted, it goes on with the size under way.

    Example: bkdms bench grow --axis entries --up-to 100000
    """
    require_compiled_reader()
    axes = axis or list(Axis)
    for point in points(axes, packets, up_to):
        if _is_measured(point, results):
            say(f"{point.size:,} {point.axis}: measured before, in {results}")
            continue
        here, total = machine(), point.entries * point.chains
        what = f"{point.size:,} {point.axis}"
        with work_folder(data) as folder, progress(what, total) as step:
            figures = measure_point(point, Path(folder) / "stack", step)
        append_result(results, Result("grow", point.as_json(), tuple(figures), machine=here))
    _tell(axes, results, json=json)
    if plot is not None:
        found = {each: costs(read_results(results), each) for each in axes}
        series = [Series(name, tuple((float(x), y) for x, y in line.items())) for name, line in found.items()]
        line_chart(plot, "Cost of a packet as the ledger grows", series, ("size", "µs"), log_x=True)


def _is_measured(point: Point, results: Path) -> bool:
    return any(
        result.bench == "grow" and result.arguments == point.as_json() for result in read_results(results)
    )


def _tell(axes: Sequence[Axis], results: Path, *, json: bool) -> None:
    runs = read_results(results)
    if json:
        emit_json(
            {
                axis.value: {
                    COST: {str(size): cost for size, cost in costs(runs, axis).items()},
                    "slope": {figure.name: figure.value for figure in slope(costs(runs, axis))},
                }
                for axis in axes
            }
        )
        return
    for axis in axes:
        found = costs(runs, axis)
        print(table((axis.value, "cpu µs per packet"), [[float(size), cost] for size, cost in found.items()]))
        for figure in slope(found):
            print(f"{figure.name.replace('_', ' ')}: {figure.value:+.1f} {figure.unit}")
        print()
    tell_machine(runs[-1].machine)
