"""Measures the plain Faust agent on the packets that a validator would get, in a real Kafka."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from pipeline.apps.bench.load.whole import submitted
from pipeline.apps.bench.plan import BenchPlan, site_signer
from pipeline.apps.bench.stages.prepared import PreparedStack, Progress, prepared_stack
from pipeline.apps.bench.stages.program import MeasuredProgram
from pipeline.core.errors import TransientError

_LOOK_S: Final = 0.05
_STUCK_S: Final = 120.0
_US: Final = 1e6


def measure_agent(plan: BenchPlan, folder: Path, progress: Progress) -> dict[str, Any]:
    """Let the agent take the plan's packets to the chain log; ``folder`` is empty.

    Counted from its first packet on, like the validator.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: the agent ended, or nothing went on.
    """
    with prepared_stack(plan, folder) as stack:
        asyncio.run(stack.fill(submitted(stack), progress))
        argv = (
            sys.executable,
            "-m",
            "pipeline.apps.bench.peers.faust_agent",
            str(_write_plan(stack, folder)),
        )
        with MeasuredProgram("the Faust agent", argv) as program:
            return asyncio.run(_watch(stack, program, progress))


def _write_plan(stack: PreparedStack, folder: Path) -> Path:
    public = [site_signer(number, stack.plan.suite).public for number in range(stack.plan.sites)]
    tls, file = stack.connection.tls, folder / "agent.json"
    values = {
        "bootstrap": stack.connection.bootstrap,
        "ca": str(tls.ca),
        "certificate": str(tls.certificate),
        "key": str(tls.key),
        "folder": str(folder / "agent"),
        "source": stack.topics.packets,
        "target": stack.genesis.topic,
        "keys": [[key.fingerprint.hex(), int(key.algorithm), key.raw.hex()] for key in public],
    }
    file.write_text(json.dumps(values))
    return file


async def _watch(stack: PreparedStack, program: MeasuredProgram, progress: Progress) -> dict[str, Any]:
    """Reckon from when the chain log had its first packets to when it had all."""
    log, entries = stack.reader(stack.genesis.topic, stack.genesis.partition), stack.plan.entries
    end = begun = 0
    start = grown_s = time.monotonic()
    cpu = 0.0
    try:
        while end < entries:
            await asyncio.sleep(_LOOK_S)
            program.demand_running()
            _, now = await log.bounds()
            if now > end:
                grown_s = time.monotonic()
                if not end:
                    begun, start, cpu = now, grown_s, program.cpu_s
                progress(now - end)
                end = now
            elif time.monotonic() - grown_s > _STUCK_S:
                raise TransientError(f"{end} of {entries} packets were let through, and no more")
        spent, seconds = program.cpu_s - cpu, time.monotonic() - start
    finally:
        await log.close()
    packets = max(1, end - begun)
    return {
        "packets": packets,
        "cpu_us_per_packet": round(spent * _US / packets, 1),
        "packets_per_second": round(packets / max(seconds, _LOOK_S)),
        "peak_memory_mib": program.peak_mib,
    }
