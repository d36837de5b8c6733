"""``bkdms bench pipeline`` and ``idle``: the whole pipeline under load, and at rest."""

from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.load.idle import measure_idle
from pipeline.apps.bench.load.pipeline import Load, measure_pipeline
from pipeline.apps.bench.report import Result
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

_VALUES_PER_S: Final = 4_000
_MOST_PACKETS_PER_S: Final = 200

Nodes = Annotated[int, typer.Option(min=1, max=16, help="Accounting nodes.")]


def pipeline(
    values_per_packet: Values = 200,
    nodes: Nodes = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the measured load.")] = 60,
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, help="Packets a second. (default: 4,000 values a second, at most 200 packets)"),
    ] = None,
    sites: Annotated[int, typer.Option(min=1, max=1000, help="Sites that send in turn.")] = 20,
    validators: Annotated[int, typer.Option(min=1, max=4, help="Validators that share the packets.")] = 2,
    suite: SuiteName = "xwing",
    period_ms: Annotated[int, typer.Option(min=100, help="Period of blocks, ms.")] = 5_000,
    data: Work = WORK,
    *,
    floors: Annotated[
        bool, typer.Option("--floors", help="Measure the floors of all stages, too, on the same servers.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Real site agents read rows that are due, instead of a sender of packets."
        ),
    ] = False,
    results: Results = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Put an open-loop load on all parts at once, with real Kafka and Redis, and measure latency and cost.

    Packets are sealed before and leave by a fixed schedule; latency counts from when a packet was due until it is in a
    published block (commit) and until its observations are handed out (store). Plain Kafka takes the same bytes in the
    same run. With --live each site is an agent that makes the packets itself; Kafka lets each send 256 KiB a second.

    Example: bkdms bench pipeline --values-per-packet 200 --seconds 60 --live --sites 5
    """
    require_compiled_reader()
    chosen = suite_option(suite)
    here, per_s = machine(), rate or min(_VALUES_PER_S / values_per_packet, _MOST_PACKETS_PER_S)
    load = Load(
        values_per_packet,
        seconds,
        per_s,
        nodes,
        sites,
        validators,
        chosen,
        period_ms,
        floors,
        live,
    )
    with work_folder(data) as folder, progress("packets made and stored", 2 * load.plan().entries) as step:
        figures = measure_pipeline(load, Path(folder) / "stack", step)
    shares = [figure for figure in figures if figure.name.endswith("_share_of_a_core")]
    tell(Result("pipeline", load.as_json(), tuple(figures), machine=here), results, json=json)
    draw(plot, f"Share of a core, {values_per_packet} values a packet, {per_s:g} packets/s", shares)


def idle(
    seconds: Annotated[float, typer.Option(min=1, help="How long to look.")] = 60,
    nodes: Nodes = 4,
    data: Work = WORK,
    *,
    results: Results = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure what all parts take of the processor when no site sends anything.

    Example: bkdms bench idle --seconds 60
    """
    require_compiled_reader()
    here, asked = machine(), {"seconds": seconds, "nodes": nodes, "validators": 2}
    with work_folder(data) as folder, progress("seconds", round(seconds)) as step:
        figures = measure_idle(seconds, Path(folder) / "stack", nodes, step)
    tell(Result("idle", asked, tuple(figures), machine=here), results, json=json)
    shares = [figure for figure in figures if figure.name.endswith("_share_of_a_core")]
    draw(plot, "Share of a core without load", shares)
