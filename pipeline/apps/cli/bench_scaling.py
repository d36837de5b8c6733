"""``bkdms bench scaling``: what more sites need, from measured costs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final

import typer

from pipeline.apps.bench.figures import progress
from pipeline.apps.bench.report import read_results, table
from pipeline.apps.bench.scaling.costs import Costs, costs_of
from pipeline.apps.bench.scaling.simulation import Chain, Station, Waits, arrivals, simulate
from pipeline.apps.bench.scaling.sizing import HOUR_S, Demand, Layout, Need, need_of, saturation
from pipeline.apps.cli.context import emit_json, say
from pipeline.core.errors import ConfigError

SITES: Final = (1_000, 100_000, 10_000_000)
_US: Final = 1_000_000
_GIB: Final = 1 << 30
_MOST_SIMULATED: Final = 4_000_000
_ROUNDS: Final = 2
_RUSH_S: Final = 60.0


def scaling(
    costs: Annotated[Path, typer.Argument(help="Results file of 'bkdms bench pipeline --results FILE'.")],
    sites: Annotated[
        list[int] | None, typer.Option(min=1, help="Sampling sites; repeat. (default: 10³, 10⁵, 10⁷)")
    ] = None,
    *,
    per_hour: Annotated[float, typer.Option(min=0.001, help="Packets of a site in an hour.")] = 4.0,
    values_per_packet: Annotated[int, typer.Option(min=1, help="Values in each packet.")] = 12,
    peak: Annotated[float, typer.Option(min=1.0, help="How much busier than the mean the peak is.")] = 3.0,
    nodes: Annotated[int, typer.Option(min=1, help="Accounting nodes of each chain.")] = 4,
    replicas: Annotated[int, typer.Option(min=1, help="Brokers that hold each record.")] = 3,
    busy: Annotated[float, typer.Option(min=0.05, max=1.0, help="How busy a core may be.")] = 0.6,
    period: Annotated[float, typer.Option(min=0.1, help="Period of the chains in seconds.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the times at which simulated sites send.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")] = False,
) -> None:
    """Reckon what so many sites need, what is full first, and how long packets wait in one chain.

    Costs are those of runs of 'bkdms bench pipeline' with packets of two sizes. Nothing is started.

    Example: bkdms bench scaling results.jsonl --sites 100000 --per-hour 12
    """
    found = costs_of(read_results(costs), str(costs))
    layout = Layout(nodes, replicas, busy)
    demands = [Demand(count, per_hour, values_per_packet, peak) for count in sites or SITES]
    needs = [need_of(demand, layout, found) for demand in demands]
    full = saturation(demands[0], layout, found)
    waits: dict[int, dict[str, Waits]] = {}
    with progress("simulating", len(demands)) as step:
        for demand, need in zip(demands, needs, strict=True):
            waits[demand.sites] = _waits(demand, need, found, period, seed)
            step(1)
    if json:
        emit_json(_as_json(demands, needs, full, waits))
        return
    _print_needs(demands, needs)
    print()
    print(table(("one process on one core", "is full at so many sites"), [[n, round(at)] for n, at in full]))
    print()
    _print_waits(waits)
    say("Waiting is simulated with fixed service times, without faults, networks and disks.")


def _waits(demand: Demand, need: Need, costs: Costs, period_s: float, seed: int) -> dict[str, Waits]:
    """Simulate one chain with its share of the sites: sending at any time of the interval, and all in its first minute.

    Raises:
        ConfigError: the chain's share is too large for this program.
    """
    share = -(-demand.sites // need.chains)
    if share * _ROUNDS > _MOST_SIMULATED:
        raise ConfigError(f"{share:,} sites in one chain are too many to simulate; let sites send more often")
    cost_s = {name: line.at(demand.values) / _US for name, line in costs.cpu_us.items()}
    chain = Chain(
        Station(-(-need.validators // need.chains), cost_s["validator"]),
        Station(1, cost_s["node"]),
        Station(1, cost_s["platform"]),
        period_s,
    )
    interval_s = HOUR_S / demand.packets_per_hour
    shapes = {"evenly": interval_s, "first_minute": min(_RUSH_S, interval_s)}
    return {
        name: simulate(chain, arrivals(share, interval_s, within_s, _ROUNDS, Random(seed)))  # noqa: S311
        for name, within_s in shapes.items()
    }


def _print_needs(demands: Sequence[Demand], needs: Sequence[Need]) -> None:
    names = [name for name in asdict(needs[0]) if not name.endswith("_per_year")]
    rows: list[list[str | float]] = [
        ["packets/s at the peak", *(demand.packets_per_s for demand in demands)],
        *([name.replace("_", " "), *(getattr(need, name) for need in needs)] for name in names),
        ["cores of all", *(need.cores for need in needs)],
        ["blocks, GiB a year", *(need.blocks_bytes_per_year / _GIB for need in needs)],
        ["store, GiB a year", *(need.store_bytes_per_year / _GIB for need in needs)],
    ]
    print(table(("sites", *(f"{demand.sites:,}" for demand in demands)), rows))


def _print_waits(waits: Mapping[int, Mapping[str, Waits]]) -> None:
    head = (
        "one chain's sites send",
        "of sites",
        "commit p50 s",
        "p99 s",
        "store p50 s",
        "p99 s",
        "longest queue",
    )
    rows: list[list[str | float]] = [
        [
            *(shape.replace("_", " "), f"{sites:,}"),
            *(each.to_commit["median"], each.to_commit["p99"], each.to_store["median"], each.to_store["p99"]),
            each.longest_queue,
        ]
        for sites, shapes in waits.items()
        for shape, each in shapes.items()
    ]
    print(table(head, rows))


def _as_json(
    demands: Sequence[Demand],
    needs: Sequence[Need],
    full: Sequence[tuple[str, float]],
    waits: Mapping[int, Mapping[str, Waits]],
) -> dict[str, Any]:
    return {
        "needs": [
            {**asdict(demand), **asdict(need), "cores": need.cores, "waits": _shapes(waits[demand.sites])}
            for demand, need in zip(demands, needs, strict=True)
        ],
        "full_at_sites": {name: round(at) for name, at in full},
    }


def _shapes(found: Mapping[str, Waits]) -> dict[str, Any]:
    return {shape: asdict(each) for shape, each in found.items()}
