"""The stages validator and node are measured on real workers, to the last packet; what they took has a figure."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.apps.cli.root import app

PACKETS = 400


@pytest.mark.stack
@pytest.mark.faults
@pytest.mark.parametrize("stage", ["validator", "node"])
def test_a_stage_takes_all_packets_through(stage: str, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    arguments = [
        "bench",
        "stage",
        stage,
        "--packets",
        str(PACKETS),
        "--floor-rounds",
        "0",
        "--suite",
        "light",
    ]
    arguments += ["--data", str(tmp_path / "work"), "--results", str(results), "--json"]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    figures = {figure["name"]: figure["value"] for figure in told["figures"]}
    assert figures["packets"] == PACKETS
    assert figures["cpu_us_per_packet"] > 0
    assert figures["peak_memory_mib"] > 0
    assert json.loads(results.read_text())["figures"] == told["figures"]
    assert not list((tmp_path / "work").iterdir())
