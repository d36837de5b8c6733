"""The measurement of the platform worker runs a real one, which hands out all that it was given."""

from pathlib import Path

import pytest

from pipeline.apps.bench.chain_maker import open_chain
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.stages.platform import measure_platform
from pipeline.core.sealing import Suite


@pytest.mark.faults
def test_the_platform_worker_is_measured_on_sealed_packets(tmp_path: Path) -> None:
    chain = open_chain(tmp_path / "chains", BenchPlan(900, Suite.LIGHT, values=3, sites=2, is_sealed=True))
    handed_out: list[int] = []
    figures = {
        figure.name: figure.value for figure in measure_platform(chain, tmp_path / "run", handed_out.append)
    }
    assert sum(handed_out) == 900
    assert 0 < figures["packets_measured"] < 900
    assert figures["cpu_us_per_packet"] > 0
