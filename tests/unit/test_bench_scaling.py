"""What more sites need follows from measured costs; queues that are simulated keep to the laws of queues."""

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from pipeline.apps.bench.report.figure import Figure
from pipeline.apps.bench.report.results import Result, append_result
from pipeline.apps.bench.scaling.costs import PROGRAMS, SIZES, Costs, Line, costs_of, fitted
from pipeline.apps.bench.scaling.simulation import Chain, Station, arrivals, longest_queue, served, simulate
from pipeline.apps.bench.scaling.sizing import Demand, Layout, need_of, saturation
from pipeline.apps.cli.bench import bench
from pipeline.core.errors import ConfigError

COSTS = Costs(
    {
        "validator": Line(200, 0),
        "node": Line(300, 1),
        "platform": Line(400, 50),
        "kafka": Line(100, 0),
        "redis": Line(10, 0),
    },
    {
        "packet_bytes": Line(1700, 90),
        "block_bytes_per_packet": Line(1800, 90),
        "store_bytes_per_packet": Line(0, 300),
    },
)
DEMAND = Demand(sites=36_000, packets_per_hour=10, values=12)
"""A hundred packets a second."""


def run(values: int, figures: Mapping[str, float], bench: str = "pipeline") -> Result:
    made = tuple(Figure(name, value) for name, value in figures.items())
    return Result(bench, {"values_per_packet": values}, made, machine={})


def all_figures(scale: float) -> dict[str, float]:
    return {f"{name}_cpu_us_per_packet": scale for name in PROGRAMS} | dict.fromkeys(SIZES, scale)


def test_costs_are_the_line_through_both_sizes() -> None:
    found = costs_of([run(1, all_figures(101)), run(201, all_figures(301))], "r.jsonl")
    assert found.cpu_us["node"] == Line(100, 1)
    assert found.sizes["packet_bytes"].at(50) == 150


def test_the_last_run_of_a_size_counts_and_other_benches_do_not() -> None:
    runs = [run(1, all_figures(7)), run(1, all_figures(101)), run(201, all_figures(301)), run(1, {}, "floor")]
    assert costs_of(runs, "r.jsonl").cpu_us["redis"].at(1) == 101


def test_a_cost_never_falls_below_nothing() -> None:
    assert fitted([(1, 100.0), (200, 50.0)]) == Line(100, 0)
    assert fitted([(10, 10.0), (20, 40.0)]) == Line(0, 3)


@pytest.mark.parametrize("runs", [[], [run(1, all_figures(1))], [run(1, all_figures(1)), run(200, {})]])
def test_missing_runs_are_named_with_the_command_that_makes_them(runs: list[Result]) -> None:
    with pytest.raises(
        ConfigError, match=r"run 'bkdms bench pipeline --values-per-packet (1|200) --results r\.jsonl'"
    ):
        costs_of(runs, "r.jsonl")


def test_a_small_city_needs_one_of_each() -> None:
    need = need_of(Demand(sites=10, packets_per_hour=4, values=12), Layout(), COSTS)
    assert (need.validators, need.chains, need.nodes, need.platform_workers, need.broker_cores) == (
        1,
        1,
        4,
        1,
        1,
    )


def test_the_slower_of_node_and_platform_says_how_many_chains() -> None:
    # 100 packets/s of 1,000 µs are a tenth of a second a second; a core may be busy for 0.05.
    assert need_of(DEMAND, Layout(busy=0.05), COSTS).chains == 2
    one_value = Demand(sites=36_000, packets_per_hour=10, values=1)
    assert need_of(one_value, Layout(busy=0.05), COSTS).chains == 1


def test_a_year_of_blocks_counts_every_replica() -> None:
    one, three = (need_of(DEMAND, Layout(replicas=n), COSTS).blocks_bytes_per_year for n in (1, 3))
    assert one == 36_000 * 10 * 24 * 365 * (1800 + 12 * 90)
    assert three == 3 * one


def test_the_peak_asks_for_cores_and_not_for_room() -> None:
    calm, busy = (need_of(Demand(360_000, 10, 12, peak=peak), Layout(), COSTS) for peak in (1.0, 5.0))
    assert busy.cores > calm.cores
    assert busy.store_bytes_per_year == calm.store_bytes_per_year


def test_the_platform_is_full_first() -> None:
    full = saturation(DEMAND, Layout(), COSTS)
    assert [name for name, _ in full] == ["platform", "node", "validator", "kafka", "redis"]
    # 0.6 of a core, 1,000 µs a packet, a packet every 360 s.
    assert full[0][1] == pytest.approx(0.6 * 1000 * 360)


@pytest.mark.parametrize("wrong", [{"sites": 0}, {"values": 0}, {"packets_per_hour": 0.0}, {"peak": 0.5}])
def test_demands_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Demand(**{"sites": 1, "packets_per_hour": 1.0, "values": 1} | wrong)  # type: ignore[arg-type]


def test_one_server_serves_one_after_the_other() -> None:
    assert served([0.0, 0.0, 5.0], Station(1, 2.0)) == [2.0, 4.0, 7.0]


def test_two_servers_serve_two_at_a_time() -> None:
    assert served([0.0, 0.0, 0.0], Station(2, 2.0)) == [2.0, 2.0, 4.0]


def test_the_longest_queue_is_what_came_and_has_not_left() -> None:
    assert longest_queue([0.0, 1.0, 2.0, 9.0], [3.0, 4.0, 5.0, 10.0]) == 3


def test_a_packet_waits_for_the_end_of_its_period() -> None:
    chain = Chain(Station(1, 0.1), Station(1, 0.2), Station(1, 0.5), period_s=10.0)
    waits = simulate(chain, [3.0])
    assert waits.to_commit["max"] == pytest.approx(7.0)
    assert waits.to_store["max"] == pytest.approx(7.5)


def test_a_chain_that_is_too_slow_commits_late() -> None:
    chain = Chain(Station(1, 0.001), Station(1, 2.0), Station(1, 0.001), period_s=10.0)
    assert simulate(chain, [0.0] * 20).to_commit["max"] == pytest.approx(0.001 + 20 * 2.0)


def test_all_at_once_wait_longer_than_spread_over_the_interval() -> None:
    chain = Chain(Station(1, 0.001), Station(1, 0.02), Station(1, 0.02), period_s=1.0)
    rush, even = (simulate(chain, arrivals(500, 60.0, within_s, 2, Random(5))) for within_s in (1.0, 60.0))
    assert rush.to_store["p99"] > even.to_store["p99"]
    assert rush.longest_queue > even.longest_queue


def test_every_site_sends_once_in_each_interval() -> None:
    sent = arrivals(50, 60.0, 5.0, 3, Random(1))
    assert [sum(number * 60 <= time < number * 60 + 5 for time in sent) for number in range(3)] == [
        50,
        50,
        50,
    ]


def test_the_command_tells_needs_waits_and_what_is_full_first(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for values in (1, 200):
        costs = {f"{name}_cpu_us_per_packet": COSTS.cpu_us[name].at(values) for name in PROGRAMS}
        sizes = {name: COSTS.sizes[name].at(values) for name in SIZES}
        append_result(file, run(values, costs | sizes))
    arguments = ["scaling", str(file), "--sites", "100", "--sites", "50000"]
    answer = CliRunner().invoke(bench, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert [need["sites"] for need in found["needs"]] == [100, 50_000]
    assert min(found["full_at_sites"], key=found["full_at_sites"].__getitem__) == "platform"
    for need in found["needs"]:
        assert set(need["waits"]) == {"evenly", "first_minute"}
        assert need["waits"]["evenly"]["to_store"]["max"] >= need["waits"]["evenly"]["to_commit"]["max"]
    shown = CliRunner().invoke(bench, arguments)
    assert shown.exit_code == 0
    assert "is full at so many sites" in shown.stdout
