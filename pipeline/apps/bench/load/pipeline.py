"""The whole pipeline under an open-loop load: latency from when a packet was due, and what every program took of it."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pipeline.apps.bench.load.arrivals import Arrivals, arrived, latencies, queued, read_arrivals
from pipeline.apps.bench.load.floors import floor_figures
from pipeline.apps.bench.load.live_sites import enrolled, live_sites
from pipeline.apps.bench.load.programs import SERVERS, Used
from pipeline.apps.bench.load.raw_kafka import measure_raw_kafka
from pipeline.apps.bench.load.sender import Schedule, Sender, Sent, write_packets
from pipeline.apps.bench.load.whole import WholeStack, whole_stack
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure
from pipeline.apps.bench.report.figure import by_name
from pipeline.core.sealing import Suite

TOTAL: Final = "cpu_us_per_packet"
_BATCH: Final = 100
_US: Final = 1e6

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Load:
    """``rate`` packets a second of ``values`` values each, for ``seconds`` after one period of warming up.

    ``sites`` send in turn; ``nodes`` accounting nodes check everything, ``validators`` share the filtering. With
    ``has_floors`` the floors of the stages are measured afterwards on the same servers. With ``is_live`` the sites are
    real agents, and a packet's rows are due instead of the packet.
    """

    values: int
    seconds: float
    rate: float
    nodes: int = 4
    sites: int = 20
    validators: int = 2
    suite: Suite = Suite.XWING
    period_ms: int = 5_000
    has_floors: bool = False
    is_live: bool = False

    @property
    def warm_s(self) -> float:
        """Seconds before the measurement."""
        return self.period_ms / 1000

    def plan(self) -> BenchPlan:
        """Return the chain that the packets are for; they hold real records, sealed to the platform."""
        packets = max(1, int(self.rate * (self.warm_s + self.seconds)))
        return BenchPlan(packets, self.suite, self.values, self.sites, self.nodes, is_sealed=True)

    def as_json(self) -> dict[str, Any]:
        """Return what was asked for as a JSON value."""
        return {
            "values_per_packet": self.values,
            "seconds": self.seconds,
            "rate": self.rate,
            "nodes": self.nodes,
            "sites": self.sites,
            "validators": self.validators,
            "suite": self.suite.name.lower(),
            "period_ms": self.period_ms,
            "live": self.is_live,
            "database": "sqlite",
        }


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run gave; ``begins_s`` is when its schedule began, ``size`` the bytes of its packets."""

    begins_s: float
    size: int
    sent: Sent
    used: Used
    arrivals: Arrivals
    store_bytes: int


def measure_pipeline(load: Load, folder: Path, progress: Progress) -> list[Figure]:
    """Put a load on a whole deployment in an empty ``folder``; ``progress`` hears of packets made and stored.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: a part ended, or packets are stored no more.
    """
    with whole_stack(load.plan(), folder, load.validators, load.period_ms) as stack:
        figures = asyncio.run(_measure(load, stack, progress))
        return figures + (floor_figures(stack, by_name(figures)[TOTAL]) if load.has_floors else [])


async def _measure(load: Load, stack: WholeStack, progress: Progress) -> list[Figure]:
    agents = await enrolled(stack) if load.is_live else []
    if not load.is_live:
        await stack.let_in()
    file = stack.deployment.data_dir / "packets.bench"
    size = await asyncio.to_thread(_prepare, stack, file, progress)
    schedule = Schedule(file, load.rate, load.sites, stack.topics.packets, stack.connection)
    before = _store_bytes(stack)
    with live_sites(stack, schedule, agents) if load.is_live else Sender(schedule) as sender:
        begins_s = await sender.begin()
        await asyncio.sleep(max(0.0, begins_s + load.warm_s - time.time()))
        handed = await stack.handed_out()
        programs = stack.programs()
        sent = await sender.result()
    await stack.await_handed_out(stack.plan.entries, progress)
    used, peaks = programs.used(), programs.peaks()
    arrivals = await read_arrivals(stack)
    run = _Run(begins_s, size, sent, used, arrivals, _store_bytes(stack) - before)
    raw = await measure_raw_kafka(stack, file)
    counted = stack.plan.entries - handed
    return [*_figures(load, schedule, stack.plan, run), *_costs(load, run, counted, raw), *raw, *peaks]


def _prepare(stack: WholeStack, file: Path, progress: Progress) -> int:
    """Make the packets of the load; return their bytes."""
    made = (raw for _, raw in stack.packets())

    def told() -> Any:
        while batch := list(islice(made, _BATCH)):
            progress(len(batch))
            yield from batch

    return write_packets(file, told())[1]


def _store_bytes(stack: WholeStack) -> int:
    file = stack.deployment.store_file
    return sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*"))


def _figures(load: Load, schedule: Schedule, plan: BenchPlan, run: _Run) -> list[Figure]:
    """Return throughput, latencies and what was left in queues when the schedule ended."""
    measured_s = run.begins_s + load.warm_s
    end_s = measured_s + load.seconds
    due = {index: run.begins_s + schedule.due_s(index) for index in range(plan.entries)}
    measured = {index: at for index, at in due.items() if at >= measured_s}
    rate = arrived(run.arrivals.stored, measured_s, end_s) / load.seconds
    stored, period_s = run.arrivals.stored, load.period_ms / 1000
    return [
        Figure("packets", len(measured)),
        Figure("packets_per_second", rate, "1/s"),
        Figure("values_per_second", rate * load.values, "1/s"),
        *latencies("commit", measured, run.arrivals.committed),
        *latencies("store", measured, stored),
        Figure("queued_at_end_packets", queued(due, stored, end_s)),
        Figure("queued_beyond_a_period_packets", queued(due, stored, end_s, period_s)),
        Figure("sender_latest_ms", run.sent.latest_ms, "ms"),
        Figure("packet_bytes", run.size / plan.entries, "B"),
        Figure("block_bytes_per_packet", run.arrivals.block_bytes / plan.entries, "B"),
        Figure("store_bytes_per_packet", run.store_bytes / plan.entries, "B"),
    ]


def _costs(load: Load, run: _Run, packets: int, raw: list[Figure]) -> list[Figure]:
    """Return what the packets stored while meters ran took of the processors, and what plain Kafka takes of that."""
    total_us = sum(run.used.by_name.values()) * _US / packets
    servers_us = sum(us for kind, us in _by_kind_us(run.used, packets).items() if kind in SERVERS)
    [plain_us] = [figure.value for figure in raw if figure.name == "raw_kafka_cpu_us_per_packet"]
    return [
        Figure(TOTAL, total_us, "µs"),
        Figure("cpu_us_per_value", total_us / load.values, "µs"),
        Figure("servers_cpu_us_per_packet", servers_us, "µs"),
        Figure("ratio_to_raw_kafka", total_us / plain_us),
        Figure("packets_per_second_by_cpu", len(os.sched_getaffinity(0)) * _US / total_us, "1/s"),
        *run.used.per_packet(packets),
        *run.used.shares(),
    ]


def _by_kind_us(used: Used, packets: int) -> Mapping[str, float]:
    return {kind: seconds * _US / packets for kind, seconds in used.by_kind().items()}
