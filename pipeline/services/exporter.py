"""Exporter: follows the blocks into an export sink, and publishes its checkpoint when a policy's witnesses agree."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from pipeline.core.errors import TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.policy_file import log_verifier
from pipeline.core.replica import BlockReason
from pipeline.core.signing import Signer
from pipeline.core.tlog_policy import TlogPolicy
from pipeline.ports import PartitionReader, WitnessClient
from pipeline.services.export_sink import ExportSink, ExportStore, TileFolder
from pipeline.services.follower import FETCH_TIMEOUT_MS, Follower, Skipped, follow_to_end, in_thread
from pipeline.services.witnessing import Pace, Witnessing
from pipeline.telemetry import export_metrics as metrics
from pipeline.telemetry.logs import logger
from pipeline.telemetry.metrics import show_zeros

_LAG_EVERY_S: Final = 5.0
_TELL_EVERY_S: Final = 60.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ExportPolicy:
    """When a checkpoint is published: once ``policy`` holds; ``client`` asks its witnesses that have an address.

    ``finish_s``: how long an export that ends waits for them, in seconds.
    """

    policy: TlogPolicy
    client: WitnessClient
    pace: Pace = Pace()  # noqa: RUF009  frozen
    finish_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ExportParts:
    """What an exporter is made of; ``signer`` holds the log key of the genesis file.

    Without ``publishing`` every checkpoint that the nodes certified is published.
    """

    genesis: Genesis
    signer: Signer
    reader: PartitionReader
    files: TileFolder
    store: ExportStore
    publishing: ExportPolicy | None = None


class ExportWorker:
    """Follows the blocks into a folder of tiles. ``pool`` checks signatures on all cores.

    With ``trusted`` the sites' signatures are left to the certificates: links, roots and admission are checked still.
    Opened, stepped and closed by its runtime, which repeats what raised ``TransientError``.

    Raises:
        ConfigError: see ``ExportSink``.
    """

    def __init__(
        self, parts: ExportParts, pool: ThreadPoolExecutor | None = None, *, trusted: bool = False
    ) -> None:
        self._parts = parts
        publishing = parts.publishing
        self._sink = ExportSink(
            parts.genesis, parts.signer, parts.files, parts.store, publishing.policy if publishing else None
        )
        self._witnessing = _witnessing(parts, publishing) if publishing else None
        self.follower = Follower(
            parts.genesis, parts.reader, self._sink, pool=pool, trusted=trusted, alarm=_alarm
        )
        self._opened = False
        self._lag_at = -_LAG_EVERY_S
        self._told_at = -_TELL_EVERY_S

    @property
    def is_ready(self) -> bool:
        """Whether the stored state was loaded and is being extended."""
        return self._opened

    async def open(self) -> None:
        """Load the stored state and go to the stored position.

        Raises:
            ConfigError: the folder is another log's.
            IntegrityError: folder and state contradict each other (code ``export_fork``).
            TransientError: the disk or Kafka are away; call again.
        """
        show_zeros(metrics.SKIPPED, [(reason.value,) for reason in BlockReason])
        await self.follower.open()
        self._opened = True

    async def step(self, timeout_ms: int = FETCH_TIMEOUT_MS) -> int:
        """Export what is next in the blocks topic; return how many records were read.

        Raises:
            IntegrityError: see ``Follower.step`` and ``Witnessing.step``; and code ``export_fork``.
            TransientError: the disk or Kafka are away; call again.
        """
        count = await self.follower.step(timeout_ms)
        awaits = await self._publish()
        now_s = asyncio.get_running_loop().time()
        if awaits and self._witnessing is not None and now_s - self._told_at >= _TELL_EVERY_S:
            _log.warning("checkpoint_awaits_quorum", missing=self._witnessing.missing)
            self._told_at = now_s
        if now_s - self._lag_at >= _LAG_EVERY_S:
            metrics.LAG.set(await self.follower.lag())
            self._lag_at = now_s
        return count

    async def finish(self) -> None:
        """Follow the blocks to where the topic ends now, and wait until the checkpoint is published.

        Raises:
            IntegrityError: as ``step`` raises it.
            TransientError: the disk or Kafka are away; or the policy's quorum is (code ``no_quorum``).
        """
        await follow_to_end(self.follower)
        publishing, witnessing = self._parts.publishing, self._witnessing
        if publishing is None or witnessing is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + publishing.finish_s
        while await self._publish():
            if loop.time() > deadline:
                raise TransientError(
                    "all is exported but the checkpoint, which awaits the policy's quorum; not cosigned by: "
                    f"{witnessing.missing}; run it again when they answer",
                    code="no_quorum",
                )
            await asyncio.sleep(publishing.pace.between)

    async def close(self) -> None:
        """Leave Kafka and let the state go; no step is under way."""
        if self._witnessing is not None:
            await self._witnessing.close()
        await self.follower.close()
        await in_thread(self._parts.store.close)

    async def _publish(self) -> bool:
        """Ask witnesses for what a candidate lacks, and publish it when nothing is; return whether one is left."""
        candidate, witnessing = self._sink.candidate, self._witnessing
        if candidate is None or witnessing is None:
            return False
        at_end = self.follower.caught_up or await self.follower.lag() == 0
        note = await witnessing.step(candidate, at_end=at_end)
        if note is None:
            return True
        await in_thread(lambda: self._sink.publish(note))
        return False


def _witnessing(parts: ExportParts, publishing: ExportPolicy) -> Witnessing:
    return Witnessing(
        log_verifier(parts.genesis),
        publishing.policy,
        publishing.client,
        parts.files.read,
        parts.store,
        pace=publishing.pace,
    )


def _alarm(skipped: Skipped) -> None:
    reason = skipped.problem.reason.value
    metrics.SKIPPED.labels(reason).inc()
    _log.warning("block_skipped", reason=reason, kafka_offset=skipped.kafka_offset)
