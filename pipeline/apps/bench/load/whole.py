"""Every part of a deployment, with sites of a made-up chain let in: what loads are put on."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from ops.files import private_folder
from ops.kafka.topic_table import PACKET_PARTITIONS
from pipeline.adapters.kafka_topic import KafkaTopicReader
from pipeline.apps.bench.load.programs import Programs
from pipeline.apps.bench.plan import BenchPlan, platform_key, site_name
from pipeline.apps.bench.stages.prepared import PreparedStack, Progress, framed_control, framed_packet
from pipeline.apps.keys import key_vault
from pipeline.apps.local.deployment import LocalDeployment, LocalPlan
from pipeline.config import load_settings
from pipeline.core.block import Kind, certified_body, parse_certified
from pipeline.core.errors import TransientError
from pipeline.ports import Outgoing

PATIENCE_S: Final = 300.0
_LOOK_S: Final = 0.5
_FETCH_BLOCKS: Final = 16
_FETCH_TIMEOUT_MS: Final = 500


class WholeStack(PreparedStack):
    """A running deployment whose sites may send, and the processor time of its programs."""

    def programs(self) -> Programs:
        """Return a meter of every program of the deployment, servers included; it counts from now on."""
        return Programs(self.deployment.stack.children())

    async def let_in(self) -> None:
        """Enrol the plan's sites, and return when validators have heard of them.

        Raises:
            TransientError: the nodes make no block of it.
        """
        log, partition, wanted = self.genesis.topic, self.genesis.partition, 2 * self.plan.sites
        records = [Outgoing(log, framed_control(raw), None, partition) for raw in self.controls()]
        await self.fill(records, lambda _: None)
        blocks, found = self.reader(self.topics.blocks, partition), 0
        try:
            # Nodes publish registrations before the block that has them.
            async with asyncio.timeout(PATIENCE_S):
                while found < wanted:
                    for record in await blocks.fetch(_FETCH_BLOCKS, _FETCH_TIMEOUT_MS):
                        parsed = parse_certified(certified_body(record.value))
                        entries = parsed[0].entries if parsed is not None else ()
                        found += sum(entry.kind is Kind.CONTROL for entry in entries)
        except TimeoutError:
            text = f"the nodes sealed {found} of {wanted} control records, and no more"
            raise TransientError(text, code="bench_sites") from None
        finally:
            await blocks.close()

    async def handed_out(self) -> int:
        """Return of how many packets the platform has handed out the observations."""
        async with self._observations() as reader:
            return sum(end for _, end in (await reader.bounds()).values())

    async def await_handed_out(self, packets: int, progress: Progress) -> None:
        """Return when the observations of so many packets were handed out.

        Raises:
            TransientError: no more are.
        """
        seen, since = 0, time.monotonic()
        async with self._observations() as reader:
            while seen < packets:
                found = sum(end for _, end in (await reader.bounds()).values())
                if found > seen:
                    progress(found - seen)
                    seen, since = found, time.monotonic()
                if time.monotonic() - since > PATIENCE_S:
                    text = f"{seen} of {packets} packets were stored, and no more"
                    raise TransientError(text, code="bench_stored")
                await asyncio.sleep(_LOOK_S)

    @asynccontextmanager
    async def _observations(self) -> AsyncIterator[KafkaTopicReader]:
        reader = KafkaTopicReader(self.connection, self.topics.observations)
        try:
            yield reader
        finally:
            await reader.close()


def submitted(stack: PreparedStack) -> Iterator[Outgoing]:
    """Yield the plan's packets as sites put them on the packets topic."""
    for site, raw in stack.packets():
        key = site_name(site).site_id
        yield Outgoing(stack.topics.packets, framed_packet(raw), key, site % PACKET_PARTITIONS)


@contextmanager
def whole_stack(
    plan: BenchPlan,
    folder: Path,
    validators: int,
    period_ms: int,
    kind: type[LocalDeployment] = LocalDeployment,
) -> Iterator[WholeStack]:
    """Run the programs of a deployment of ``kind`` in an empty folder, the platform with the keys of the plan's sites.

    Raises:
        ConfigError: Kafka or Redis can't be run here.
        TransientError: a part did not get ready.
    """
    chain = plan.chain_plan()
    chain = replace(chain, contract=replace(chain.contract, period_ms=period_ms))
    deployment = kind(folder, LocalPlan(chain, validators=validators))
    deployment.secrets_dir = private_folder(folder.with_name(folder.name + "-secrets"))
    deployment.start()
    try:
        if plan.is_sealed:
            vault = key_vault(load_settings(deployment.settings_file))
            for number in range(plan.sites):
                vault.add(platform_key(number, plan.suite))
        yield WholeStack(deployment, plan)
    finally:
        deployment.stop()
        shutil.rmtree(deployment.secrets_dir, ignore_errors=True)
