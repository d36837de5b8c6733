"""The stage validator: packets that wait on the packets topic, taken through by the real worker, one process or more.

Measured from the moment that the last worker has its partitions until the last packet is on the chain log.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from ops.kafka.topic_table import PACKET_PARTITIONS
from pipeline.apps.bench.plan import BenchPlan, site_name
from pipeline.apps.bench.report import Figure
from pipeline.apps.bench.stages.prepared import (
    PreparedStack,
    Progress,
    framed_control,
    framed_packet,
    prepared_stack,
)
from pipeline.apps.bench.stages.program import MeasuredProgram, cores, stage_figures
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import TransientError
from pipeline.core.state import ChainState
from pipeline.ports import Outgoing
from pipeline.services.accounting.publication import registrations

_START_S: Final = 120.0
_STUCK_S: Final = 120.0
_LOOK_S: Final = 0.05
_UNLIMITED: Final = ("--rate", "0")
_NEARLY_ALL: Final = 0.9
"""Throughput is measured up to this part of the packets: with several workers one has nothing left before the other."""


def measure_validator(
    plan: BenchPlan, folder: Path, workers: int, progress: Progress, floor_rounds: int = 0
) -> tuple[Figure, ...]:
    """Let ``workers`` validators, each bound to a core, take the plan's packets through; ``folder`` is empty.

    The floor is measured afterwards in ``floor_rounds``, on the same servers.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: a worker ended, or nothing went on.
    """
    with prepared_stack(plan, folder, workers) as stack:
        asyncio.run(_prepare(stack, progress))
        with ExitStack() as running:
            programs = []
            for number in range(workers):
                name = f"validator-{number + 1}"
                core = cores()[number % len(cores())]
                argv = (*stack.argv(name), *_UNLIMITED)
                programs.append(running.enter_context(MeasuredProgram(name, argv, [core])))
            for program in programs:
                program.await_event("partitions_assigned", _START_S)
            spent = asyncio.run(_watch(stack, programs, progress))
        return (*spent, *stack.against_floor("validator", spent[0].value, floor_rounds))


async def _prepare(stack: PreparedStack, progress: Progress) -> None:
    await stack.fill(_registrations(stack), lambda _: None)
    await stack.fill(_submitted(stack), progress)


def _registrations(stack: PreparedStack) -> list[Outgoing]:
    """Return what an accounting node would tell validators of the plan's sites."""
    deriver = Deriver(ChainState(stack.genesis))
    found: list[Outgoing] = []
    closed: list[Derived] = []
    for offset, raw in enumerate(stack.controls()):
        closed += deriver.feed(LogRecord(offset, 0, framed_control(raw))).closed
    for derived in (*closed, *deriver.close()):
        found += registrations(stack.genesis, stack.topics, derived.block)
    return found


def _submitted(stack: PreparedStack) -> Iterator[Outgoing]:
    for site, raw in stack.packets():
        key = site_name(site).site_id
        yield Outgoing(stack.topics.packets, framed_packet(raw), key, site % PACKET_PARTITIONS)


async def _watch(
    stack: PreparedStack, programs: Sequence[MeasuredProgram], progress: Progress
) -> tuple[Figure, ...]:
    """Watch the chain log grow, and reckon from when it had its first packets to when it had all."""
    log, entries = stack.reader(stack.genesis.topic, stack.genesis.partition), stack.plan.entries
    try:
        _, begun = await log.bounds()
        cpu = [program.cpu_s for program in programs]
        start = grown_s = time.monotonic()
        end, nearly, nearly_s = begun, begun, start
        while end < entries:
            await asyncio.sleep(_LOOK_S)
            _, now = await log.bounds()
            for program in programs:
                program.demand_running()
            if now > end:
                grown_s = time.monotonic()
                progress(now - end)
                if end < _NEARLY_ALL * entries:
                    nearly, nearly_s = now, grown_s
                end = now
            elif time.monotonic() - grown_s > _STUCK_S:
                raise TransientError(f"{end} of {entries} packets were let through, and no more")
        spent = [program.cpu_s - before for program, before in zip(programs, cpu, strict=True)]
    finally:
        await log.close()
    return stage_figures(
        stack.plan,
        end - begun,
        sum(spent),
        (nearly - begun) / (nearly_s - start),
        max(program.peak_mib for program in programs),
    )
