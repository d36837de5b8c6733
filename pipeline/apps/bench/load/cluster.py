"""A cluster of brokers with several chains under an open-loop load: what it costs and how long a commit takes."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ops.files import private_folder
from pipeline.apps.bench.load.arrivals import Arrivals, latencies, queued, read_arrivals
from pipeline.apps.bench.load.cities import CitiesDeployment, CityStack
from pipeline.apps.bench.load.programs import Used
from pipeline.apps.bench.load.sender import Schedule, Sender, write_packets
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure
from pipeline.core.block import Kind, certified_body, parse_certified
from pipeline.core.errors import TransientError
from pipeline.core.sealing import Suite

_US: Final = 1e6
_STUCK_S: Final = 180.0
_FETCH_BLOCKS: Final = 16
_FETCH_TIMEOUT_MS: Final = 200
_BATCH: Final = 100

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ClusterLoad:
    """``rate`` packets a second of one value in all, spread evenly over ``chains``, for ``seconds``."""

    brokers: int = 3
    chains: int = 4
    nodes: int = 4
    seconds: float = 60.0
    rate: float = 80.0
    sites: int = 20
    suite: Suite = Suite.XWING
    period_ms: int = 5_000

    def plan(self) -> BenchPlan:
        """Return the packets of one chain."""
        packets = max(1, int(self.rate / self.chains * self.seconds))
        return BenchPlan(packets, self.suite, 1, self.sites, self.nodes)

    def as_json(self) -> dict[str, Any]:
        """Return what was asked for as a JSON value."""
        return asdict(self) | {"suite": self.suite.name.lower(), "validators": self.chains}


@dataclass(frozen=True, slots=True)
class _City:
    """What became of one city's packets: when its schedule began, and when they were committed."""

    begins_s: float
    arrivals: Arrivals


def measure_cluster(load: ClusterLoad, folder: Path, progress: Progress) -> list[Figure]:
    """Put a load on all chains at once in an empty ``folder``; ``progress`` hears of packets made and sealed.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: a part ended, or packets are sealed no more.
    """
    plan = load.plan()
    deployment = CitiesDeployment(folder, plan, load.chains, load.brokers, load.period_ms)
    deployment.secrets_dir = private_folder(folder.with_name(folder.name + "-secrets"))
    deployment.start()
    try:
        stacks = [CityStack(deployment, plan, city) for city in deployment.cities()]
        return asyncio.run(_measure(load, stacks, progress))
    finally:
        deployment.stop()


async def _measure(load: ClusterLoad, stacks: list[CityStack], progress: Progress) -> list[Figure]:
    schedules = []
    for stack in stacks:
        await stack.let_in()
        file = stack.deployment.data_dir / f"packets-{stack.city.number}.bench"
        await asyncio.to_thread(_prepare, stack, file, progress)
        rate = load.rate / load.chains
        schedules.append(Schedule(file, rate, load.sites, stack.topics.packets, stack.connection))
    programs = stacks[0].programs()
    with ExitStack() as open_senders:
        senders = [open_senders.enter_context(Sender(schedule)) for schedule in schedules]
        begins = [await sender.begin() for sender in senders]
        for sender in senders:
            await sender.result()
    await asyncio.gather(*(_sealed(stack, progress) for stack in stacks))
    used, peaks = programs.used(), programs.peaks()
    cities = [_City(begin, await read_arrivals(stack)) for begin, stack in zip(begins, stacks, strict=True)]
    return [*_figures(load, schedules[0], cities), *_costs(load, used), *peaks]


def _prepare(stack: CityStack, file: Path, progress: Progress) -> None:
    made = (raw for _, raw in stack.packets())

    def told() -> Any:
        while batch := list(islice(made, _BATCH)):
            progress(len(batch))
            yield from batch

    write_packets(file, told())


async def _sealed(stack: CityStack, progress: Progress) -> None:
    """Return when the city's blocks hold all of its packets."""
    reader, found, since = stack.reader(stack.topics.blocks, stack.genesis.partition), 0, time.monotonic()
    try:
        while found < stack.plan.entries:
            for record in await reader.fetch(_FETCH_BLOCKS, _FETCH_TIMEOUT_MS):
                parsed = parse_certified(certified_body(record.value))
                entries = parsed[0].entries if parsed is not None else ()
                packets = sum(entry.kind is Kind.PACKET for entry in entries)
                progress(packets)
                found, since = found + packets, time.monotonic()
            if time.monotonic() - since > _STUCK_S:
                text = f"{found} of {stack.plan.entries} packets of {stack.city.topics.prefix} were sealed"
                raise TransientError(f"{text}, and no more", code="bench_cluster")
    finally:
        await reader.close()


def _figures(load: ClusterLoad, schedule: Schedule, cities: list[_City]) -> list[Figure]:
    """Return what was committed, how late after it was due, and what was still queued when the schedule ended."""
    packets = load.plan().entries
    due: dict[int, float] = {}
    committed: dict[int, int] = {}
    for number, city in enumerate(cities):
        first = number * packets
        due |= {first + index: city.begins_s + schedule.due_s(index) for index in range(packets)}
        committed |= {first + index: at for index, at in city.arrivals.committed.items()}
    end_s = max(city.begins_s for city in cities) + load.seconds
    late = queued(due, committed, end_s, load.period_ms / 1000)
    return [
        Figure("packets_sent", len(due)),
        Figure("packets_committed", len(committed)),
        *latencies("commit", due, committed),
        Figure("queued_beyond_a_period_packets", late),
    ]


def _costs(load: ClusterLoad, used: Used) -> list[Figure]:
    """Return what a packet took of each kind of program; of nodes and validators, what one took of its own chain's."""
    packets = load.plan().entries * load.chains
    kinds = used.by_kind()
    own = {
        kind: seconds * _US / packets / (load.nodes if kind == "node" else 1)
        for kind, seconds in kinds.items()
    }
    return [
        Figure("cpu_us_per_packet", sum(kinds.values()) * _US / packets, "µs"),
        *(Figure(f"{kind}_cpu_us_per_packet", us, "µs") for kind, us in own.items()),
        *used.shares(),
    ]
