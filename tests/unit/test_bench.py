"""A made-up chain is a real one but for what is sealed in it, and each measurement does what it says on a small one."""

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from typer.testing import CliRunner

from pipeline.adapters.block_folder import block_file
from pipeline.apps.bench.audit import measure_audit
from pipeline.apps.bench.bare import measure_bare
from pipeline.apps.bench.chain_maker import BenchChain, open_chain
from pipeline.apps.bench.export import kept_tiles, measure_export
from pipeline.apps.bench.figures import spread
from pipeline.apps.bench.memory import resident_figures
from pipeline.apps.bench.packets import BenchSite
from pipeline.apps.bench.plan import (
    MODULE,
    BenchPlan,
    platform_key,
    sample_record,
    secret,
    site_name,
    site_signer,
)
from pipeline.apps.bench.proofs import measure_proofs
from pipeline.apps.bench.suites import measure_suites
from pipeline.apps.cli.root import app
from pipeline.core.packet import PacketDraft, parse_packet, seal_packet
from pipeline.core.record import encode_record
from pipeline.core.replica import Extended, extend
from pipeline.core.sealing import Suite
from pipeline.core.state import START, ChainState

SMALL = BenchPlan(900, sites=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def chain(data: Path) -> BenchChain:
    return open_chain(data, SMALL)


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("values", [1, 7])
def test_a_made_up_packet_is_as_long_as_a_real_one(suite: Suite, values: int) -> None:
    plan, chain_hash = BenchPlan(10, suite, values), secret("chain")
    made_up = BenchSite(1, plan, chain_hash, START).packet(0)
    parsed = parse_packet(made_up)
    assert not isinstance(parsed, int)
    time_ms = parsed.collected_from
    draft = PacketDraft(chain_hash, site_name(1), MODULE, 1, START.last_id, time_ms, time_ms, suite)
    records = [encode_record(sample_record(site_name(1)))] * values
    reader = platform_key(1, suite).public
    signer = site_signer(1, suite)
    real = seal_packet(draft, records, [reader], signer, seed=secret("seed"), content_key=secret("key"))
    assert len(made_up) == len(real)


def test_every_block_extends_the_chain_with_all_signatures_checked(chain: BenchChain) -> None:
    state = ChainState(chain.genesis)
    packets = 0
    for certified in chain.blocks():
        extended = extend(state, certified)
        assert isinstance(extended, Extended)
        packets += len(extended.admitted) if extended.block.header.height > 1 else 0
    assert state.head.height == chain.block_count
    assert packets == SMALL.entries


def test_a_longer_chain_goes_on_from_a_shorter_one(data: Path, chain: BenchChain) -> None:
    before = list(chain.blocks())
    longer = open_chain(data, BenchPlan(SMALL.entries + SMALL.block_entries, sites=SMALL.sites))
    after = list(longer.blocks())
    assert len(after) == len(before) + 1
    assert after[: len(before) - 1] == before[:-1]
    state = ChainState(longer.genesis)
    assert all(isinstance(extend(state, certified), Extended) for certified in after)


def test_the_exporter_is_measured_to_the_last_leaf(chain: BenchChain) -> None:
    seen: list[int] = []
    figures = measure_export(chain, seen.append)
    assert figures["leaves"] >= SMALL.entries + chain.block_count
    assert sum(seen) == chain.block_count
    assert figures["entries_per_second"] > 0


def test_proofs_are_measured_from_kept_tiles(chain: BenchChain) -> None:
    tiles = kept_tiles(chain, lambda _: None)
    made = (tiles / "checkpoint").stat().st_mtime_ns
    assert kept_tiles(chain, lambda _: None) == tiles
    assert (tiles / "checkpoint").stat().st_mtime_ns == made
    figures = measure_proofs(chain, tiles, 5, lambda _: None)
    assert figures["samples"] == 5
    assert figures["proof_ms"]["median"] > 0


def test_the_audit_is_measured_beside_all_its_checks(chain: BenchChain) -> None:
    figures = measure_audit(chain, 1, lambda _: None)
    controls, lines = 2 * SMALL.sites, chain.block_count * 2 * SMALL.quorum
    assert figures["packets"] >= SMALL.entries
    assert figures["signatures"] == figures["packets"] + controls + lines
    assert figures["bare_cpu_seconds"] > 0
    assert len(figures["bare_runs"]) == 2


def test_the_bare_cost_is_refused_for_a_signature_that_is_not_good(data: Path) -> None:
    """Otherwise it would be the cost of something else."""
    plan = BenchPlan(50, Suite.P256, sites=2)
    made = open_chain(data, plan)
    path = block_file(made.blocks_folder, 2)
    content = bytearray(path.read_bytes())
    content[content.index(b"bench-1") + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidSignature):
        measure_bare(made, 1, lambda _: None)


def test_resident_memory_is_what_was_seen_shortly_before_each_mark() -> None:
    samples = [
        (100, 9 << 20),
        (8_000, 100 << 20),
        (9_000, 102 << 20),
        (10_001, 500 << 20),
        (19_000, 111 << 20),
    ]
    figures = resident_figures(BenchPlan(20_000), samples)
    assert figures["resident_mib"] == {"10000": 101.0, "20000": 111.0}
    assert figures["change_percent"] == {"10000": 0.0, "20000": 9.9}
    assert figures["largest_mib"] == 500.0


def test_the_spread_of_values() -> None:
    figures = spread([float(n) for n in range(1, 201)])
    assert figures == {"median": 100.5, "p99": 199.0, "max": 200.0, "mean": 100.5}


def test_the_command_gives_figures_chain_and_machine_as_json(data: Path, chain: BenchChain) -> None:
    arguments = [
        "bench",
        "stage",
        "export",
        "--entries",
        "400",
        "--suite",
        "light",
        "--data",
        str(data),
        "--json",
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert set(document) == {"figures", "chain", "machine"}
    assert document["chain"]["suite"] == "light"


def test_the_memory_at_the_end_counts_though_the_tree_grew_in_one_step() -> None:
    figures = resident_figures(BenchPlan(1500), [(0, 100 << 20), (687, 128 << 20), (1508, 130 << 20)])
    assert figures["resident_mib"] == {"1500": 130.0}


def test_every_suite_is_measured_with_the_length_that_its_packets_really_have() -> None:
    figures = measure_suites([1, 3], 2, lambda _: None)
    assert set(figures) == {f"{suite.name.lower()} {size}" for suite in Suite for size in (1, 3)}
    assert all(found[step] > 0 for found in figures.values() for step in found)
    assert figures["xwing 1"]["packet_bytes"] - figures["light 1"]["packet_bytes"] == 1120 - 32
