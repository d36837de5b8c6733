"""The platform worker by itself: blocks of really sealed packets in a real Kafka, a real store, real messages out."""

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from ops.local_servers import POSTGRES
from ops.tls.principal import Role
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection
from pipeline.adapters.kafka_topic import KafkaTopicReader
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.authority import ChainFiles
from pipeline.apps.bench.chain_maker import BenchChain
from pipeline.apps.bench.plan import platform_key
from pipeline.apps.bench.report.figure import Figure
from pipeline.apps.bench.stages.process import ProcessTree, stage_figures
from pipeline.apps.keys import key_vault
from pipeline.apps.local.deployment import PLATFORM_NAME, LocalDeployment, LocalPlan, Program
from pipeline.config import load_settings
from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK
from pipeline.core.errors import TransientError
from pipeline.ports import Outgoing

WARM_UP_BLOCKS: Final = 3
"""Block 1 lets the sites in; the next ones fill caches and are not measured."""
_LOOK_EVERY_S: Final = 0.25
_PATIENCE_S: Final = 180.0
_US: Final = 1e6


class PlatformAlone(LocalDeployment):
    """Kafka, Redis, perhaps PostgreSQL, and the platform worker; nobody else."""

    def programs(self) -> list[Program]:
        """Return the platform worker."""
        return [program for program in super().programs() if program.role is Role.PLATFORM]


def measure_platform(
    chain: BenchChain, folder: Path, progress: Callable[[int], None], *, has_postgres: bool = False
) -> tuple[Figure, ...]:
    """Let a platform worker store and hand out a made chain in an empty ``folder``; return what that cost.

    Counted from the end of the first blocks on: user and system seconds of all threads of the worker. Beside it those
    of the database's processes. ``progress`` hears of packets handed out.

    Raises:
        ConfigError: Kafka, Redis or PostgreSQL can't be run here.
        TransientError: the worker ended, or hands out nothing any more.
    """
    files = ChainFiles(folder / "chain")
    files.folder.mkdir(mode=0o700, parents=True)
    shutil.copy(chain.files.genesis_file, files.genesis_file)
    plan = LocalPlan(chain.plan.chain_plan(), validators=0, has_postgres=has_postgres)
    deployment = PlatformAlone(folder, plan)
    deployment.secrets_dir = folder.with_name(folder.name + "-secrets")
    deployment.start()
    try:
        vault = key_vault(load_settings(deployment.settings_file))
        for number in range(chain.plan.sites):
            vault.add(platform_key(number, chain.plan.suite))
        return asyncio.run(_Run(chain, deployment, progress).measure())
    finally:
        deployment.stop()
        shutil.rmtree(deployment.secrets_dir, ignore_errors=True)


class _Run:
    """One measurement on a running deployment."""

    def __init__(self, chain: BenchChain, deployment: PlatformAlone, progress: Callable[[int], None]) -> None:
        self._chain, self._deployment, self._progress = chain, deployment, progress
        self._topics = deployment.stack.topics
        self._producer = IdempotentProducer(self._connection(Role.NODE))
        self._observations = KafkaTopicReader(self._connection(Role.ANALYST), self._topics.observations)
        self._told = 0

    def _connection(self, role: Role) -> KafkaConnection:
        files = self._deployment.stack.credentials(role, "bench")
        tls = TlsFiles(files.ca, files.certificate, files.key)
        return KafkaConnection(self._deployment.stack.kafka_bootstrap, tls, "bkdms-bench")

    async def measure(self) -> tuple[Figure, ...]:
        """Hand in the first blocks, then the rest; return the figures of the rest."""
        plan = self._chain.plan
        blocks = list(self._chain.blocks())
        first = min(WARM_UP_BLOCKS, len(blocks) - 1)
        warm = (first - 1) * plan.block_entries
        try:
            await self._publish(blocks[:first])
            await self._handed_out(warm)
            worker, server = self._tree(PLATFORM_NAME), self._tree(POSTGRES)
            before = worker.cpu_s(), server.cpu_s()
            begun = time.perf_counter()
            await self._publish(blocks[first:])
            await self._handed_out(plan.entries)
            wall_s = time.perf_counter() - begun
        finally:
            await self._producer.close()
            await self._observations.close()
        spent, served = worker.cpu_s() - before[0], server.cpu_s() - before[1]
        packets = plan.entries - warm
        figures = stage_figures(packets, plan.values, spent, wall_s, worker.peak_mib())
        if not self._deployment.has_postgres:
            return figures
        return (*figures, Figure("database_cpu_us_per_packet", round(served * _US / packets, 1), "µs"))

    async def _publish(self, blocks: list[bytes]) -> None:
        for block in blocks:
            value = avro.frame(CERTIFIED_BLOCK, block)
            await self._producer.send([Outgoing(self._topics.blocks, value, None, 0)])

    async def _handed_out(self, packets: int) -> None:
        """Return when the observations of so many packets are in their topic.

        Raises:
            TransientError: nothing came for long.
        """
        since = time.monotonic()
        while True:
            found = sum(end for _, end in (await self._observations.bounds()).values())
            if found > self._told:
                self._progress(found - self._told)
                self._told, since = found, time.monotonic()
            if found >= packets:
                return
            if time.monotonic() - since > _PATIENCE_S:
                raise TransientError("the platform worker hands out nothing any more", code="bench_platform")
            await asyncio.sleep(_LOOK_EVERY_S)

    def _tree(self, name: str) -> ProcessTree:
        """Return the processes of a program of the deployment; none where it does not run."""
        found = [child for child in self._deployment.stack.children() if child.name == name and child.pid]
        if name == PLATFORM_NAME and (not found or found[0].restarts):
            raise TransientError("the platform worker ended", code="bench_platform")
        return ProcessTree([psutil.Process(child.pid) for child in found if child.pid])
