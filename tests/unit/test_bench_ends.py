"""What the stages at both ends are measured on is real: packets open, rows are read, processor time is counted."""

import os
import time
from pathlib import Path

import psutil
import pytest

from connectors.mapping import read_mapping
from connectors.sources.csv_source import CsvSource
from pipeline.apps.bench.live_site import COLUMNS, MAPPING, source_rows
from pipeline.apps.bench.packets import SealingSite, entry_time
from pipeline.apps.bench.plan import INDICATOR, BenchPlan, platform_key, secret, site_name, site_signer
from pipeline.apps.bench.stages.process import ProcessTree, stage_figures
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.sealing import Suite
from pipeline.core.state import START, Site
from pipeline.core.storage import Status, read_content

VALUES = 5


@pytest.mark.parametrize("suite", Suite)
def test_a_sealed_packet_opens_to_as_many_different_values(suite: Suite) -> None:
    plan = BenchPlan(10, suite, VALUES, sites=1, is_sealed=True)
    maker = SealingSite(0, plan, secret("chain"), START)
    maker.packet(0)
    packet = parse_packet(maker.packet(1))
    assert isinstance(packet, Packet)
    site = Site(site_name(0), site_signer(0, suite).public, (suite,), (INDICATOR,), ())
    content = read_content(packet, site, lambda _: platform_key(0, suite))
    assert content.status is Status.OK
    assert len({(record.time_ms, record.values) for record in content.records}) == VALUES
    assert packet.collected_to == entry_time(plan, 1)
    assert packet.sequence == 2


def test_all_rows_of_the_source_become_records(tmp_path: Path) -> None:
    file = tmp_path / "source.csv"
    file.write_text(
        COLUMNS + "\n" + source_rows(1_790_000_000_000, 0, 3) + source_rows(1_790_000_000_000, 3, 2)
    )
    batch = CsvSource(file, read_mapping(MAPPING)).read("", 10)
    assert not batch.rejected
    assert [record.time_ms for record in batch.records] == [1_790_000_000_000 + n * 1000 for n in range(5)]


def test_figures_of_a_stage_are_of_a_packet_and_of_a_value() -> None:
    figures = {figure.name: figure.value for figure in stage_figures(10, 200, 0.5, 2.0, 33.0)}
    assert figures["cpu_us_per_packet"] == 50_000
    assert figures["cpu_us_per_value"] == 250
    assert figures["values_per_second"] == 1000
    assert figures["values_per_cpu_second"] == 4000


def test_processor_time_of_a_process_grows_with_its_work() -> None:
    tree = ProcessTree([psutil.Process(os.getpid())])
    before, begun = tree.cpu_s(), time.process_time()
    while time.process_time() - begun < 0.1:
        pass
    assert tree.cpu_s() - before >= 0.05
    assert tree.peak_mib() > 1
