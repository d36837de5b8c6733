"""A small load through a whole deployment: every packet arrives, and the figures are those that sizing reads."""

from pathlib import Path

import pytest

from pipeline.apps.bench.load.pipeline import Load, measure_pipeline
from pipeline.apps.bench.report.figure import by_name
from pipeline.apps.bench.scaling.costs import PROGRAMS, SIZES

pytestmark = [pytest.mark.stack, pytest.mark.faults]


def test_all_packets_of_a_load_are_stored_and_every_program_is_counted(tmp_path: Path) -> None:
    load = Load(values=2, seconds=2.0, rate=20.0, nodes=1, sites=3, validators=1, period_ms=500)
    steps: list[int] = []
    figures = by_name(measure_pipeline(load, tmp_path / "stack", steps.append))
    assert sum(steps) == 2 * load.plan().entries
    assert figures["packets"] == 40
    assert figures["commit_p50_s"] <= figures["commit_p99_s"] <= figures["commit_p999_s"]
    assert figures["store_p999_s"] >= figures["commit_p50_s"] > 0
    assert all(figures[f"{name}_cpu_us_per_packet"] >= 0 for name in PROGRAMS)
    assert all(figures[name] > 0 for name in (*SIZES, "raw_kafka_cpu_us_per_packet", "ratio_to_raw_kafka"))
