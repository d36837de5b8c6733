"""``bkdms bench cluster``: several brokers, several chains, in one run."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.load.cluster import ClusterLoad, measure_cluster
from pipeline.apps.bench.report import Result
from pipeline.apps.cli.bench_runs import WORK, Json, Results, SuiteName, Work, tell, work_folder
from pipeline.apps.cli.values import suite_option
from pipeline.core.avro import require_compiled_reader


def cluster(
    brokers: Annotated[int, typer.Option(min=1, max=3, help="Kafka brokers: 1 or 3.")] = 3,
    chains: Annotated[int, typer.Option(min=1, max=8, help="Chains, each with a validator of its own.")] = 4,
    nodes: Annotated[int, typer.Option(min=1, max=4, help="Accounting nodes of each chain.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the load.")] = 60,
    rate: Annotated[float, typer.Option(min=1, help="Packets a second, all chains together.")] = 80,
    sites: Annotated[int, typer.Option(min=1, max=1000, help="Sites of each chain.")] = 20,
    suite: SuiteName = "xwing",
    data: Work = WORK,
    *,
    results: Results = None,
    json: Json = False,
) -> None:
    """Put an open-loop load on several chains at once, on a cluster of brokers, all programs real.

    Each chain has its own topics, validator and nodes; brokers and Redis are shared. With three brokers every record is
    held by all, and acknowledged when two have it. Packets hold one value; latency counts from when a packet was due
    until its block is published.

    Example: bkdms bench cluster --brokers 3 --chains 4 --seconds 60
    """
    require_compiled_reader()
    here, load = machine(), ClusterLoad(brokers, chains, nodes, seconds, rate, sites, suite_option(suite))
    total = 2 * load.plan().entries * chains
    with work_folder(data) as folder, progress("packets made and sealed", total) as step:
        figures = measure_cluster(load, Path(folder) / "stack", step)
    tell(Result("cluster", load.as_json(), tuple(figures), machine=here), results, json=json)
