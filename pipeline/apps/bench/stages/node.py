"""The stage node: packets that wait on the chain log, sealed by the real accounting node, alone in its chain.

Measured from when the node has caught up with an empty chain until its last block is on the blocks topic.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure
from pipeline.apps.bench.stages.prepared import (
    PreparedStack,
    Progress,
    framed_control,
    framed_packet,
    prepared_stack,
)
from pipeline.apps.bench.stages.program import MeasuredProgram, stage_figures
from pipeline.core.block import Kind, certified_body, parse_certified
from pipeline.core.errors import TransientError
from pipeline.ports import Outgoing

_START_S: Final = 120.0
_STUCK_S: Final = 120.0
_FETCH_BLOCKS: Final = 16
_FETCH_TIMEOUT_MS: Final = 100


def measure_node(
    plan: BenchPlan, folder: Path, progress: Progress, floor_rounds: int = 0
) -> tuple[Figure, ...]:
    """Let an accounting node seal the plan's packets in an empty ``folder``.

    The floor is measured afterwards in ``floor_rounds``, on the same servers.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: the node ended, or nothing went on.
    """
    with prepared_stack(plan, folder) as stack:
        asyncio.run(stack.fill(_logged(stack), progress))
        [name] = plan.node_names
        with MeasuredProgram(name, stack.argv(name)) as program:
            program.await_event("node_resumed", _START_S)
            spent = asyncio.run(_watch(stack, program, progress))
        return (*spent, *stack.against_floor("node", spent[0].value, floor_rounds))


def _logged(stack: PreparedStack) -> Iterator[Outgoing]:
    topic, partition = stack.genesis.topic, stack.genesis.partition
    for raw in stack.controls():
        yield Outgoing(topic, framed_control(raw), None, partition)
    for _, raw in stack.packets():
        yield Outgoing(topic, framed_packet(raw), None, partition)


async def _watch(stack: PreparedStack, program: MeasuredProgram, progress: Progress) -> tuple[Figure, ...]:
    """Read the blocks as they are published, until all packets are in them."""
    blocks = stack.reader(stack.topics.blocks, stack.genesis.partition)
    cpu, start = program.cpu_s, time.monotonic()
    packets, count, grown_s = 0, 0, start
    try:
        while packets < stack.plan.entries:
            program.demand_running()
            for record in await blocks.fetch(_FETCH_BLOCKS, _FETCH_TIMEOUT_MS):
                parsed = parse_certified(certified_body(record.value))
                if parsed is not None:
                    found = sum(entry.kind is Kind.PACKET for entry in parsed[0].entries)
                    packets, count, grown_s = packets + found, count + 1, time.monotonic()
                    progress(found)
            if time.monotonic() - grown_s > _STUCK_S:
                raise TransientError(f"{packets} of {stack.plan.entries} packets were sealed, and no more")
        spent, seconds = program.cpu_s - cpu, time.monotonic() - start
    finally:
        await blocks.close()
    figures = stage_figures(stack.plan, packets, spent, packets / seconds, program.peak_mib)
    return (*figures, Figure("blocks", count))
