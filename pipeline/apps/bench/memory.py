"""Measures the memory of a real accounting node, on a real Kafka and Redis, while its chain grows."""

import asyncio
import statistics
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psutil
from prometheus_client.parser import text_string_to_metric_families

from ops.tls.principal import Role
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.bench.enrolments import enrolments
from pipeline.apps.bench.packets import made_packets
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.local.deployment import LocalDeployment, LocalPlan, Program
from pipeline.apps.local.probes import worker_page
from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA, PACKET_SCHEMA
from pipeline.core.errors import TransientError
from pipeline.core.keys import Use
from pipeline.core.state import START
from pipeline.ports import Outgoing

MARKS: Final = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
_WINDOW: Final = 0.7
"""A mark's figure is the median of what was seen between this part of it and the whole."""
_BATCH: Final = 500
_MAX_AHEAD: Final = 15_000
_SAMPLE_EVERY_S: Final = 0.2
_PATIENCE_S: Final = 120.0
_TREE: Final = "bkdms_node_tree_size_leaves"
_MIB: Final = 1 << 20


class NodeAlone(LocalDeployment):
    """Kafka, Redis and the accounting nodes; nobody else."""

    def programs(self) -> list[Program]:
        """Return the nodes."""
        return [program for program in super().programs() if program.role is Role.NODE]


@dataclass
class _Watched:
    """A node under watch: leaves in its tree and bytes resident in memory, as they were seen."""

    deployment: NodeAlone
    samples: list[tuple[int, int]] = field(default_factory=list)
    tree: int = 0

    def __post_init__(self) -> None:
        [self._program] = self.deployment.programs()

    async def look(self) -> None:
        """Take a sample.

        Raises:
            TransientError: the node has ended.
        """
        status = next(c for c in self.deployment.stack.children() if c.name == self._program.name)
        if status.pid is None or status.restarts:
            raise TransientError(f"the node ended; see {status.log_file}", code="bench_node")
        folder, program = self.deployment.data_dir, self._program
        page = await asyncio.to_thread(worker_page, folder, program.name, program.port)
        for family in text_string_to_metric_families((page or b"").decode()):
            self.tree = next((int(s.value) for s in family.samples if s.name == _TREE), self.tree)
        self.samples.append((self.tree, psutil.Process(status.pid).memory_info().rss))


def measure_memory(plan: BenchPlan, folder: Path, progress: Callable[[int], None]) -> dict[str, Any]:
    """Let a node seal a chain of the plan in an empty ``folder``, and return its resident memory as the chain grows.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: the node ended, or stopped growing its chain.
    """
    deployment = NodeAlone(folder, LocalPlan(plan.chain_plan(), validators=0))
    deployment.start()
    try:
        watched = _Watched(deployment)
        begun = time.perf_counter()
        asyncio.run(_grow(plan, watched, progress))
        seconds = time.perf_counter() - begun
    finally:
        deployment.stop()
    return resident_figures(plan, watched.samples) | {
        "seconds": round(seconds, 1),
        "entries_per_second": round(plan.entries / seconds),
    }


async def _grow(plan: BenchPlan, watched: _Watched, progress: Callable[[int], None]) -> None:
    """Put the plan's records into the chain log, never far ahead of the node, until all are in its tree."""
    deployment = watched.deployment
    files = deployment.stack.credentials(Role.VALIDATOR, "bench")
    tls = TlsFiles(files.ca, files.certificate, files.key)
    producer = IdempotentProducer(KafkaConnection(deployment.stack.kafka_bootstrap, tls, "bkdms-bench"))
    topic, values, sent, looked, grown = deployment.genesis.topic, _values(plan, deployment), 0, 0.0, 0
    since = time.monotonic()
    try:
        while watched.tree < plan.entries:
            if time.monotonic() - looked >= _SAMPLE_EVERY_S:
                looked = time.monotonic()
                await watched.look()
                if watched.tree > grown:
                    progress(watched.tree - grown)
                    grown, since = watched.tree, looked
            if sent - watched.tree < _MAX_AHEAD:
                batch = await asyncio.to_thread(list, islice(values, _BATCH))
                sent += len(batch)
                if batch:
                    await producer.send([Outgoing(topic, value, None, 0) for value in batch])
                    continue
            if time.monotonic() - since > _PATIENCE_S:
                raise TransientError("the node seals nothing any more", code="bench_node")
            await asyncio.sleep(_SAMPLE_EVERY_S)
    finally:
        await producer.close()
        values.close()


def _values(plan: BenchPlan, deployment: NodeAlone) -> Generator[bytes, None, None]:
    """Yield the values of the chain log."""
    chain = deployment.genesis.chain
    registrar = deployment.keys.signer(deployment.chain.registrar_key, Use.REGISTRAR)
    for raw in enrolments(plan, chain, registrar):
        yield avro.frame(CONTROL_SCHEMA, raw)
    positions = dict.fromkeys(range(plan.sites), START)
    for raw in made_packets(plan, chain, positions, 0, 1):
        yield avro.frame(PACKET_SCHEMA, raw)


def resident_figures(plan: BenchPlan, samples: list[tuple[int, int]]) -> dict[str, Any]:
    """Return the resident memory at each mark, in MiB, and how far the marks are from the first one."""
    marks = [mark for mark in MARKS if mark < plan.entries] + [plan.entries]
    # The last tree is larger than the packets alone, and may be reached in one step.
    ends = {mark: mark for mark in marks[:-1]} | {plan.entries: max(tree for tree, _ in samples)}
    seen = {mark: [rss for tree, rss in samples if _WINDOW * mark <= tree <= ends[mark]] for mark in marks}
    resident = {mark: round(statistics.median(found) / _MIB, 1) for mark, found in seen.items() if found}
    first = next(iter(resident.values()))
    return {
        "entries": plan.entries,
        "resident_mib": {str(mark): value for mark, value in resident.items()},
        "change_percent": {
            str(mark): round(100 * (value / first - 1), 1) for mark, value in resident.items()
        },
        "largest_mib": round(max(rss for _, rss in samples) / _MIB, 1),
        "samples": len(samples),
    }
