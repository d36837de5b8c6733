"""Measures one point of growth: real programs seal a ledger of that size, and its last packets are counted.

Entries and sites: packets go through a validator to one accounting node; with entries the platform worker stores them,
too. Chains: one accounting node each, on one Kafka and one Redis; packets are put on their logs.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from ops.tls.principal import Role
from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.apps.authority import ChainFiles
from pipeline.apps.bench.enrolments import enrolments
from pipeline.apps.bench.load.chains import ChainsAlone
from pipeline.apps.bench.load.growth import Point
from pipeline.apps.bench.load.whole import WholeStack, submitted, whole_stack
from pipeline.apps.bench.packets import made_packets
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure
from pipeline.apps.bench.stages.prepared import framed_control, framed_packet
from pipeline.apps.local.deployment import LocalDeployment, LocalPlan, Program
from pipeline.core.block import Kind, certified_body, parse_certified
from pipeline.core.errors import TransientError
from pipeline.core.keys import Use
from pipeline.core.sealing import Suite
from pipeline.core.state import START
from pipeline.ports import Outgoing

PERIOD_MS: Final = 1_000
_STUCK_S: Final = 180.0
_FETCH_BLOCKS: Final = 16
_FETCH_TIMEOUT_MS: Final = 200
_BATCH: Final = 500
_US: Final = 1e6
_LEDGER: Final = (Role.NODE, Role.VALIDATOR)

Progress = Callable[[int], None]


class LedgerAlone(LocalDeployment):
    """Kafka, Redis, validators and accounting nodes; nobody else."""

    def programs(self) -> list[Program]:
        """Return these programs."""
        return [program for program in super().programs() if program.role in _LEDGER]


class LedgerAndPlatform(LocalDeployment):
    """Kafka, Redis, validators, accounting nodes and the platform worker; nobody else."""

    def programs(self) -> list[Program]:
        """Return these programs."""
        return [program for program in super().programs() if program.role in (*_LEDGER, Role.PLATFORM)]


def measure_point(point: Point, folder: Path, progress: Progress) -> list[Figure]:
    """Seal a ledger of the point's size in an empty ``folder``; ``progress`` hears of packets sealed.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: a part ended, or nothing is sealed any more.
    """
    is_stored = point.axis == "entries"
    plan = BenchPlan(point.entries, Suite.LIGHT, 1, point.sites, nodes=1, is_sealed=is_stored)
    if point.axis == "chains":
        return _beside_each_other(point, plan, folder, progress)
    kind = LedgerAndPlatform if is_stored else LedgerAlone
    with whole_stack(plan, folder, 1, PERIOD_MS, kind) as stack:
        return asyncio.run(_through(point, stack, progress, is_stored=is_stored))


async def _through(point: Point, stack: WholeStack, progress: Progress, *, is_stored: bool) -> list[Figure]:
    """Take the packets through validator and node, and the platform worker where there is one."""
    await stack.let_in()
    sealed = _Sealed([stack.reader(stack.topics.blocks, stack.genesis.partition)], progress)
    made = submitted(stack)

    async def bring(count: int, total: int) -> None:
        await stack.fill(islice(made, count), lambda _: None)
        await sealed.reach(total)
        if is_stored:
            await stack.await_handed_out(total, lambda _: None)

    try:
        await bring(point.entries - point.packets, point.entries - point.packets)
        programs = stack.programs()
        await bring(point.packets, point.entries)
        used, peaks = programs.used(), programs.peaks()
    finally:
        await sealed.close()
    total = Figure("cpu_us_per_packet", sum(used.by_name.values()) * _US / point.packets, "µs")
    return [total, *used.per_packet(point.packets), *peaks]


def _beside_each_other(point: Point, plan: BenchPlan, folder: Path, progress: Progress) -> list[Figure]:
    chain = plan.chain_plan()
    chain = replace(chain, contract=replace(chain.contract, period_ms=PERIOD_MS))
    deployment = ChainsAlone(folder, LocalPlan(chain, validators=0), point.chains)
    deployment.secrets_dir = folder.with_name(folder.name + "-secrets")
    deployment.start()
    try:
        return asyncio.run(_in_chains(point, WholeStack(deployment, plan), deployment, progress))
    finally:
        deployment.stop()


async def _in_chains(
    point: Point, stack: WholeStack, deployment: ChainsAlone, progress: Progress
) -> list[Figure]:
    """Put packets on the logs of all chains in turn, and wait until each has sealed its own."""
    logs = [_Log(stack, files) for files in deployment.chain_files()]
    sealed = _Sealed([stack.reader(stack.topics.blocks, log.partition) for log in logs], progress)
    warm = point.entries - point.packets
    try:
        for log in logs:
            await stack.fill(log.controls(), lambda _: None)
        await _fill(stack, logs, warm)
        await sealed.reach(warm * len(logs))
        programs = stack.programs()
        await _fill(stack, logs, point.packets)
        await sealed.reach(point.entries * len(logs))
        used, peaks = programs.used(), programs.peaks()
    finally:
        await sealed.close()
        for log in logs:
            log.packets.close()
    packets = point.packets * len(logs)
    costs = [
        Figure(f"{kind}_cpu_us_per_packet", seconds * _US / packets, "µs")
        for kind, seconds in used.by_kind().items()
    ]
    return [Figure("cpu_us_per_packet", sum(cost.value for cost in costs), "µs"), *costs, *peaks]


async def _fill(stack: WholeStack, logs: list["_Log"], count: int) -> None:
    for first in range(0, count, _BATCH):
        for log in logs:
            await stack.fill(islice(log.packets, min(_BATCH, count - first)), lambda _: None)


class _Log:
    """What goes onto the log of one chain."""

    def __init__(self, stack: WholeStack, files: ChainFiles) -> None:
        self._genesis, self._plan = files.genesis(), stack.plan
        self._registrar = stack.deployment.keys.signer(files.registrar_key, Use.REGISTRAR)
        self.partition = self._genesis.partition
        self.packets = self._packets()

    def controls(self) -> Iterator[Outgoing]:
        """Yield the records that let the sites in."""
        for raw in enrolments(self._plan, self._genesis.chain, self._registrar):
            yield Outgoing(self._genesis.topic, framed_control(raw), None, self.partition)

    def _packets(self) -> Generator[Outgoing, None, None]:
        positions = dict.fromkeys(range(self._plan.sites), START)
        for raw in made_packets(self._plan, self._genesis.chain, positions, 0, 1):
            yield Outgoing(self._genesis.topic, framed_packet(raw), None, self.partition)


class _Sealed:
    """How many packets the published blocks of some chains hold."""

    def __init__(self, readers: list[KafkaPartitionReader], progress: Progress) -> None:
        self._readers, self._progress = readers, progress
        self._count = 0

    async def reach(self, wanted: int) -> None:
        """Return when the blocks hold so many packets.

        Raises:
            TransientError: no more get into blocks.
        """
        since = time.monotonic()
        while self._count < wanted:
            for reader in self._readers:
                for record in await reader.fetch(_FETCH_BLOCKS, _FETCH_TIMEOUT_MS // len(self._readers) + 1):
                    parsed = parse_certified(certified_body(record.value))
                    entries = parsed[0].entries if parsed is not None else ()
                    found = sum(entry.kind is Kind.PACKET for entry in entries)
                    self._progress(found)
                    self._count, since = self._count + found, time.monotonic()
            if time.monotonic() - since > _STUCK_S:
                raise TransientError(
                    f"{self._count} of {wanted} packets were sealed, and no more", code="bench_grow"
                )

    async def close(self) -> None:
        """Leave Kafka."""
        for reader in self._readers:
            await reader.close()
