"""Figures of loads, of growth and of peers follow from what was seen, and a size that was measured stays measured."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.adapters.kafka import KafkaConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.bench.live_site import LiveSite
from pipeline.apps.bench.load.arrivals import arrived, latencies, percentile, queued
from pipeline.apps.bench.load.growth import CHAINS, ENTRIES, SITES, costs, points, slope
from pipeline.apps.bench.load.live_sites import LiveSites
from pipeline.apps.bench.load.programs import Used, kind_of
from pipeline.apps.bench.load.sender import Schedule, read_packets, write_packets
from pipeline.apps.bench.peers import tessera
from pipeline.apps.bench.plan import site_name
from pipeline.apps.bench.report import Figure, Result, append_result, read_results
from pipeline.apps.bench.report.figure import by_name
from pipeline.apps.cli import bench_grow
from pipeline.apps.cli.root import app
from pipeline.core.errors import ConfigError

HERE = {"cores": 2, "cpu": "a", "load_before": 0.0, "python": "3"}


def grown(axis: str, size: int, cost: float, packets: int = 10) -> Result:
    """Return the run of one size."""
    [point] = [point for point in points([axis], packets, None) if point.size == size]
    return Result("grow", point.as_json(), (Figure("cpu_us_per_packet", cost, "µs"),), None, HERE)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000)])
def test_a_percentile_is_a_value_that_was_seen(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(1, 1001)], share) == expected


def test_the_only_value_is_each_percentile() -> None:
    assert {percentile([7.0], share) for share in (0.001, 0.5, 0.999)} == {7.0}


def test_latency_counts_from_when_a_packet_was_due() -> None:
    due = {0: 10.0, 1: 10.5}
    found = by_name(latencies("commit", due, {0: 11_000, 1: 13_500}))
    assert found == {"commit_p50_s": 1.0, "commit_p99_s": 3.0, "commit_p999_s": 3.0}


def test_a_packet_that_is_not_there_at_the_end_was_queued() -> None:
    due, there = {0: 1.0, 1: 2.0, 2: 8.0, 3: 11.0}, {0: 3_000, 1: 10_001, 2: 10_001, 3: 12_000}
    assert queued(due, there, end_s=10.0) == 2
    assert queued(due, there, end_s=10.0, older_s=5.0) == 1


def test_throughput_counts_what_arrived_between_two_times() -> None:
    assert arrived({0: 1_000, 1: 1_001, 2: 2_000, 3: 2_001}, 1.0, 2.0) == 2


def test_a_packets_cost_is_that_of_all_validators_and_of_one_node() -> None:
    used = Used({"validator-1": 1.0, "validator-2": 2.0, "node-1": 1.0, "node-2": 3.0, "kafka": 4.0}, 10.0)
    assert by_name(used.per_packet(1_000_000)) == {
        "validator_cpu_us_per_packet": 3.0,
        "node_cpu_us_per_packet": 2.0,
        "kafka_cpu_us_per_packet": 4.0,
    }
    assert by_name(used.shares())["node-2_share_of_a_core"] == 30.0


@pytest.mark.parametrize(
    ("name", "kind"), [("node-12", "node"), ("validator-1", "validator"), ("kafka", "kafka"), ("x-1", "x-1")]
)
def test_a_program_is_what_its_name_says_without_the_number(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(("now_s", "due"), [(-0.1, 0), (0.0, 1), (0.49, 1), (0.5, 2), (100.0, 201)])
def test_what_is_due_follows_from_the_time_alone(tmp_path: Path, now_s: float, due: int) -> None:
    tls = TlsFiles(tmp_path, tmp_path, tmp_path)
    schedule = Schedule(tmp_path, 2.0, 3, "topic", KafkaConnection("localhost:1", tls, "bench"))
    assert schedule.due(now_s) == due
    assert schedule.due_s(4) == 2.0


async def test_sites_in_turn_get_a_packets_rows_at_a_time(tmp_path: Path) -> None:
    tls = TlsFiles(tmp_path, tmp_path, tmp_path)
    schedule = Schedule(tmp_path, 1_000.0, 2, "topic", KafkaConnection("localhost:1", tls, "bench"))
    sites = [LiveSite(site_name(number), tmp_path / str(number) / "bkdms.toml") for number in range(2)]
    for site in sites:
        site.source.parent.mkdir()
    with LiveSites(schedule, sites, packets=5, values=3) as feeding:
        await feeding.begin()
        await feeding.result()
    lines = [site.source.read_text().splitlines() for site in sites]
    assert [len(found) for found in lines] == [9, 6]
    assert all(found == sorted(set(found)) for found in lines)


def test_packets_of_a_file_come_back_in_order(tmp_path: Path) -> None:
    packets = [b"a", b"bc" * 40_000, b"d"]
    assert write_packets(tmp_path / "packets", packets) == (3, 80_002)
    assert list(read_packets(tmp_path / "packets")) == packets


def test_a_ledger_grows_along_one_axis_at_a_time() -> None:
    found = points(["entries", "sites", "chains"], 5_000, None)
    assert [point.size for point in found] == [*ENTRIES, *SITES, *CHAINS]
    assert {point.chains for point in found if point.axis != "chains"} == {1}
    assert all(0 < point.packets < point.entries for point in found)


def test_sizes_beyond_the_largest_wanted_are_left_out_but_never_all() -> None:
    assert [point.size for point in points(["sites"], 10, 1_000)] == [10, 100, 1_000]
    assert [point.size for point in points(["entries"], 10, 5)] == [ENTRIES[0]]


def test_the_slope_is_the_change_for_ten_times_the_size() -> None:
    found = by_name(slope({10: 100.0, 100: 105.0, 1_000: 110.0}))
    assert found == pytest.approx({"change_for_ten_times": 5.0, "largest_change": 10.0})
    assert by_name(slope({1: 100.0, 10: 80.0, 100: 100.0}))["largest_change"] == pytest.approx(-20.0)
    assert slope({10: 100.0}) == []


def test_of_a_size_that_was_measured_twice_the_last_run_counts() -> None:
    runs = [
        grown("sites", 100, 3.0),
        grown("sites", 10, 1.0),
        grown("chains", 1, 9.0),
        grown("sites", 10, 2.0),
    ]
    assert costs(runs, "sites") == {10: 2.0, 100: 3.0}


def test_growth_goes_on_with_the_sizes_that_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, measured = tmp_path / "grow.jsonl", []
    append_result(results, grown("chains", 1, 100.0))

    def measure(point, _folder, _progress):  # type: ignore[no-untyped-def]
        measured.append(point.size)
        return [Figure("cpu_us_per_packet", 103.0, "µs")]

    monkeypatch.setattr(bench_grow, "measure_point", measure)
    monkeypatch.setattr(bench_grow, "machine", lambda: HERE)
    asked = ["bench", "grow", "--axis", "chains", "--packets", "10", "--up-to", "2"]
    asked += ["--results", str(results), "--data", str(tmp_path), "--plot", str(tmp_path / "grow.svg")]
    for _ in range(2):
        ran = CliRunner().invoke(app, asked)
        assert ran.exit_code == 0, ran.output
    assert measured == [2]
    assert [run.arguments["chains"] for run in read_results(results)] == [1, 2]
    assert "largest change: +3.0 %" in ran.output
    assert (tmp_path / "grow.svg").exists()


def test_a_machine_without_go_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="install it, or leave --peer tessera out"):
        tessera.built(tmp_path)
