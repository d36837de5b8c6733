"""``bkdms bench peers``: programs of others on the same packets, beside ours, in one run."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.apps.bench.figures import machine, progress
from pipeline.apps.bench.packets import made_packets
from pipeline.apps.bench.peers.agent import measure_agent
from pipeline.apps.bench.peers.tessera import built, measure_tessera
from pipeline.apps.bench.plan import BenchPlan, secret
from pipeline.apps.bench.report import Figure, Result
from pipeline.apps.bench.report.figure import by_name
from pipeline.apps.bench.stages.node import measure_node
from pipeline.apps.bench.stages.prepared import Progress
from pipeline.apps.bench.stages.validator import measure_validator
from pipeline.apps.cli.bench_runs import WORK, Json, Plot, Results, Values, Work, draw, tell, work_folder
from pipeline.core.avro import require_compiled_reader
from pipeline.core.sealing import Suite
from pipeline.core.state import START

_UNITS: Final = {
    "cpu_us_per_packet": "µs",
    "packets_per_second": "1/s",
    "peak_memory_mib": "MiB",
}


class Peer(StrEnum):
    """What is measured: two programs of ours, and what others would use for a part of their work."""

    VALIDATOR = "validator"
    FAUST = "faust"
    NODE = "node"
    TESSERA = "tessera"


def peers(
    packets: Annotated[int, typer.Option(min=2, help="Packets that each takes.")] = 20_000,
    values_per_packet: Values = 1,
    peer: Annotated[list[Peer] | None, typer.Option(help="Whom to measure; repeat. (default: all)")] = None,
    data: Work = WORK,
    *,
    results: Results = None,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure our validator beside a plain Faust agent, and our node beside Tessera's POSIX log, on the same packets.

    The agent checks the same signatures, one packet after another, and promises nothing about a crash. Tessera orders
    entries and publishes a signed tree; it checks no signature and agrees with nobody. Its program is built by Go.

    Example: bkdms bench peers --packets 20000
    """
    require_compiled_reader()
    chosen, here = list(dict.fromkeys(peer or Peer)), machine()
    program = built(WORK / "peers") if Peer.TESSERA in chosen else None
    plan = BenchPlan(packets, Suite.XWING, values_per_packet, nodes=1)
    figures: list[Figure] = []
    for each in chosen:
        with work_folder(data) as folder, progress(each.value, None) as step:
            found = _measured(each, plan, Path(folder) / "stack", program, step)
        figures += [
            Figure(f"{each.value}_{name}", float(found[name]), unit)
            for name, unit in _UNITS.items()
            if name in found
        ]
    asked = {"packets": packets, "values_per_packet": values_per_packet, "suite": "xwing"}
    tell(
        Result("peers", asked | {"peers": [each.value for each in chosen]}, tuple(figures), machine=here),
        results,
        json=json,
    )
    costs = [figure for figure in figures if figure.name.endswith("_cpu_us_per_packet")]
    draw(plot, f"Processor time of a packet of {values_per_packet} values", costs)


def _measured(
    peer: Peer, plan: BenchPlan, folder: Path, program: Path | None, step: Progress
) -> dict[str, Any]:
    if peer is Peer.VALIDATOR:
        return by_name(measure_validator(plan, folder, 1, step))
    if peer is Peer.NODE:
        return by_name(measure_node(plan, folder, step))
    if peer is Peer.FAUST or program is None:
        return measure_agent(plan, folder, step)
    packets = made_packets(plan, secret("peers"), dict.fromkeys(range(plan.sites), START), 0, 1)
    return measure_tessera(program, packets, folder)
