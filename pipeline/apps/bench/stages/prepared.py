"""Prepared input: a real Kafka and Redis with a made-up chain, its sites let in and its packets waiting on a topic."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from ops.kafka.broker import ADMIN
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.bench.enrolments import enrolments
from pipeline.apps.bench.floor import FloorServers, measure_floor
from pipeline.apps.bench.packets import made_packets
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.bench.report import Figure
from pipeline.apps.local.deployment import LocalDeployment, LocalPlan, Program
from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA, PACKET_SCHEMA
from pipeline.core.keys import Use
from pipeline.core.state import START
from pipeline.ports import Outgoing

PERIOD_MS: Final = 1_000
"""Period of the measured chain: short, so that its last block does not keep anybody waiting."""
_BATCH: Final = 500

Progress = Callable[[int], None]


class PreparedStack:
    """The servers of a plan, a chain in them, and the rights of the administrator there, who has no quota."""

    def __init__(self, deployment: LocalDeployment, plan: BenchPlan) -> None:
        self.deployment, self.plan = deployment, plan
        self.genesis, self.topics = deployment.genesis, deployment.stack.topics
        files = deployment.stack.credentials(ADMIN.role, ADMIN.name)
        tls = TlsFiles(files.ca, files.certificate, files.key)
        self.connection = KafkaConnection(deployment.stack.kafka_bootstrap, tls, "bkdms-bench")

    def program(self, name: str) -> Program:
        """Return one of the deployment's programs."""
        return next(program for program in self.deployment.programs() if program.name == name)

    def argv(self, name: str) -> Sequence[str]:
        """Return the arguments that run one of the deployment's programs."""
        settings = self.deployment.data_dir / "settings" / f"{name}.toml"
        command = self.program(name).command
        return self.deployment.python("pipeline.apps.cli", "--config", str(settings), *command)

    def reader(self, topic: str, partition: int = 0) -> KafkaPartitionReader:
        """Return a reader of one partition, from its beginning."""
        return KafkaPartitionReader(self.connection, topic, partition)

    def controls(self) -> list[bytes]:
        """Return the control records that let the plan's sites in."""
        files = self.deployment.chain
        registrar = self.deployment.keys.signer(files.registrar_key, Use.REGISTRAR)
        return list(enrolments(self.plan, self.genesis.chain, registrar))

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """Yield the plan's packets in order, each with the number of its site."""
        positions = dict.fromkeys(range(self.plan.sites), START)
        processes = len(os.sched_getaffinity(0))
        made = made_packets(self.plan, self.genesis.chain, positions, 0, processes)
        return ((index % self.plan.sites, raw) for index, raw in enumerate(made))

    async def fill(self, records: Iterable[Outgoing], progress: Progress) -> None:
        """Put records on their topics, in order.

        Raises:
            TransientError: Kafka did not take them.
        """
        producer, waiting = IdempotentProducer(self.connection), iter(records)
        try:
            while batch := await asyncio.to_thread(list, islice(waiting, _BATCH)):
                await producer.send(batch)
                progress(len(batch))
        finally:
            await producer.close()

    def against_floor(self, stage: str, cpu_us_per_packet: float, rounds: int) -> tuple[Figure, ...]:
        """Measure a stage's floor on the same servers; return it and how many times it the stage took.

        Nothing is measured, and nothing returned, with 0 ``rounds``. Not to be called from an event loop.
        """
        if not rounds:
            return ()
        plan, servers = self.plan, FloorServers(self.deployment.stack)
        floor = measure_floor(
            stage, plan.values, plan.suite, nodes=plan.nodes, servers=servers, rounds=rounds
        )
        ratio = Figure("cpu_by_floor", round(floor.ratio(cpu_us_per_packet), 3))
        return (ratio, *floor.figures())


@contextmanager
def prepared_stack(plan: BenchPlan, folder: Path, validators: int = 0) -> Iterator[PreparedStack]:
    """Run the servers of a plan in an empty folder, with settings for its programs, of which none runs.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
    """
    chain = plan.chain_plan()
    chain = replace(chain, contract=replace(chain.contract, period_ms=PERIOD_MS))
    deployment = LocalDeployment(folder, LocalPlan(chain, validators=validators))
    deployment.start(servers_only=True)
    try:
        yield PreparedStack(deployment, plan)
    finally:
        deployment.stop()


def framed_packet(raw: bytes) -> bytes:
    """Return a packet as topics hold it."""
    return avro.frame(PACKET_SCHEMA, raw)


def framed_control(raw: bytes) -> bytes:
    """Return a control record as the chain log holds it."""
    return avro.frame(CONTROL_SCHEMA, raw)
