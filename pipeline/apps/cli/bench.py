"""``bkdms bench``: figures of this machine, on a made-up chain with real signatures and certificates."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.apps.bench.audit import measure_audit
from pipeline.apps.bench.chain_maker import BenchChain, open_chain
from pipeline.apps.bench.export import kept_tiles, measure_export
from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.memory import measure_memory
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.proofs import COLD_PROOFS, measure_proofs
from pipeline.apps.bench.suites import measure_suites
from pipeline.apps.cli.bench_cluster import cluster
from pipeline.apps.cli.bench_ends import platform, site
from pipeline.apps.cli.bench_floor import floor
from pipeline.apps.cli.bench_grow import grow
from pipeline.apps.cli.bench_load import idle, pipeline
from pipeline.apps.cli.bench_peers import peers
from pipeline.apps.cli.bench_scaling import scaling
from pipeline.apps.cli.bench_workers import node, validator
from pipeline.apps.cli.context import emit_json, say
from pipeline.apps.cli.values import suite_option
from pipeline.core.avro import require_compiled_reader
from pipeline.core.sealing import Suite

DATA = Path(".cache/bench")
bench = typer.Typer(
    no_args_is_help=True,
    help="Measure this machine on a made-up chain, whose packets and certificates are really signed.",
)
stage = typer.Typer(no_args_is_help=True, help="Measure one stage of the pipeline by itself.")
bench.add_typer(stage, name="stage")
stage.command()(validator)
stage.command()(node)
bench.command()(floor)
stage.command()(site)
stage.command()(platform)
bench.command()(pipeline)
bench.command()(cluster)
bench.command()(idle)
bench.command()(grow)
bench.command()(peers)
bench.command()(scaling)

Entries = Annotated[int, typer.Option(help="Packets in the chain.")]
Values = Annotated[int, typer.Option(help="Records in each packet.")]
SuiteName = Annotated[str, typer.Option("--suite", help="Cipher suite: xwing, light or p256.")]
Data = Annotated[
    Path, typer.Option(help="Folder that keeps made-up chains; one that is there is used again or continued.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]


@bench.command()
def chain(
    entries: Entries = 1_000_000,
    values: Values = 1,
    suite: SuiteName = "xwing",
    data: Data = DATA,
    *,
    json: Json = False,
) -> None:
    """Make the chain that the other commands measure on, as far as it is not there; they do the same by themselves.

    Interrupted, it goes on where it stopped. A million packets take some ten minutes and 2 GB.

    Example: bkdms bench chain --entries 100000
    """
    made = _chain(BenchPlan(entries, suite_option(suite), values), data)
    size = sum(map(len, made.blocks()))
    _tell(
        {"folder": str(made.blocks_folder), "blocks": made.block_count, "bytes": size}, made.plan, json=json
    )


@bench.command()
def proofs(
    entries: Entries = 1_000_000,
    values: Values = 1,
    suite: SuiteName = "xwing",
    data: Data = DATA,
    *,
    samples: Annotated[int, typer.Option(min=1, help="Packets to prove, drawn from the whole log.")] = 1000,
    json: Json = False,
) -> None:
    """Measure portable proofs from exported tiles: packets drawn from the whole log, each proof verified.

    Makes the chain and its tiles first, as far as they are not there.

    Example: bkdms bench proofs --entries 1000000
    """
    made = _chain(BenchPlan(entries, suite_option(suite), values), data)
    with progress("exporting blocks", made.block_count) as step:
        tiles = kept_tiles(made, step)
    with progress("proving", samples + min(samples, COLD_PROOFS)) as step:
        figures = measure_proofs(made, tiles, samples, step)
    _tell(figures, made.plan, json=json)


@bench.command()
def memory(
    entries: Entries = 1_000_000,
    values: Values = 1,
    suite: SuiteName = "light",
    data: Data = DATA,
    *,
    json: Json = False,
) -> None:
    """Measure the memory of a real accounting node while its chain grows from nothing, on a real Kafka and Redis.

    One node, alone in its chain, in a folder that is removed afterwards. Packets are made on the way.

    Example: bkdms bench memory --entries 1000000
    """
    require_compiled_reader()
    plan = BenchPlan(entries, suite_option(suite), values, nodes=1)
    data.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=data, prefix="memory-") as folder,
        progress("sealing", entries) as step,
    ):
        figures = measure_memory(plan, Path(folder), step)
    _tell(figures, plan, json=json)


@bench.command()
def suites(
    records: Annotated[
        list[int] | None, typer.Option(help="Records a packet; repeat. (default: 1, 50, 500)")
    ] = None,
    *,
    samples: Annotated[int, typer.Option(min=1, help="Packets of each kind.")] = 60,
    json: Json = False,
) -> None:
    """Measure the cipher suites on one core: bytes of a packet; sealing, checking and opening it.

    Example: bkdms bench suites --json
    """
    require_compiled_reader()
    sizes = records or [1, 50, 500]
    with progress("measuring", len(Suite) * len(sizes)) as step:
        figures = measure_suites(sizes, samples, step)
    if json:
        emit_json({"figures": figures, "samples": samples, "machine": machine()})
        return
    steps = ("packet_bytes", "seal_us", "check_us", "open_us")
    print(f"{'suite, records':<16}" + "".join(f"{name.replace('_', ' '):>14}" for name in steps))
    for name, found in figures.items():
        print(f"{name:<16}" + "".join(f"{found[step]:>14,.0f}" for step in steps))


@stage.command()
def export(
    entries: Entries = 100_000,
    values: Values = 1,
    suite: SuiteName = "xwing",
    data: Data = DATA,
    *,
    json: Json = False,
) -> None:
    """Measure the exporter: blocks verified by the real follower, written as tiles to the disk.

    Blocks come from files, so Kafka is no part of the figure. Beside it the same without the sites' signatures.

    Example: bkdms bench stage export --entries 100000
    """
    made = _chain(BenchPlan(entries, suite_option(suite), values), data)
    with progress("exporting blocks", 2 * made.block_count) as step:
        figures = measure_export(made, step)
        certified = measure_export(made, step, trusted=True)
    beside = {"entries_per_second_without_site_signatures": certified["entries_per_second"]}
    _tell(figures | beside | {"source": "block files"}, made.plan, json=json)


@stage.command()
def audit(
    entries: Entries = 100_000,
    values: Values = 1,
    suite: SuiteName = "xwing",
    data: Data = DATA,
    *,
    rounds: Annotated[
        int, typer.Option(min=1, help="Audits; the bare cost is measured before and after each.")
    ] = 1,
    json: Json = False,
) -> None:
    """Measure the audit of a folder of blocks against the bare cost of its signature checks and hashes.

    The ratio says how much of the audit's time these would take alone, on the same cores in the same run.

    Example: bkdms bench stage audit --entries 100000
    """
    made = _chain(BenchPlan(entries, suite_option(suite), values), data)
    with progress("auditing blocks", (2 * rounds + 1) * made.block_count) as step:
        figures = measure_audit(made, rounds, step)
    _tell(figures, made.plan, json=json)


def _chain(plan: BenchPlan, data: Path) -> BenchChain:
    require_compiled_reader()
    with progress("making packets", plan.entries) as step:
        return open_chain(data, plan, step)


def _tell(figures: dict[str, Any], plan: BenchPlan, *, json: bool) -> None:
    """Print figures as lines, or with plan and machine as one JSON object."""
    if json:
        emit_json({"figures": figures, "chain": plan.as_json(), "machine": machine()})
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):<22} {value}")
    here = machine()
    say(f"on {here['cores']} cores of {here['cpu']}, load {here['load_before']}, Python {here['python']}")
