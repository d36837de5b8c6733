"""The measurement of a node's memory runs a real node, whose chain grows to what was asked for."""

from pathlib import Path

import pytest

from pipeline.apps.bench.memory import measure_memory
from pipeline.apps.bench.plan import BenchPlan
from pipeline.core.sealing import Suite


@pytest.mark.faults
def test_memory_is_measured_on_a_real_node(tmp_path: Path) -> None:
    grown: list[int] = []
    figures = measure_memory(BenchPlan(1500, Suite.LIGHT, sites=2, nodes=1), tmp_path, grown.append)
    assert sum(grown) >= 1500
    assert figures["resident_mib"]["1500"] > 20
