"""Putting an audit together: source, helpers on all cores, progress bar, and where it keeps how far it came."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.adapters.block_folder import block_files, read_blocks
from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.adapters.sql.audit_store import SqlAuditStore
from pipeline.adapters.tile_client import TileClient
from pipeline.adapters.tile_files import TileFiles
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.config import Settings
from pipeline.core.anchor import Anchor
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.services.audit import Auditor, OnBlock, audit
from pipeline.services.audit_report import AuditReport, Source
from pipeline.services.audit_sources import WINDOW_BLOCKS, topic_windows
from pipeline.services.log_audit import LogAudit
from pipeline.services.survey_pool import SurveyPool
from pipeline.services.tile_audit import Read, TileAudit

_HELPED_FROM: Final = 100
"""Blocks from which on it pays to start helpers."""
_LEAVES_PER_BLOCK: Final = 32
"""A guess, to tell whether a log has so many blocks."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What an audit is asked beside its source; ``resume`` is the file to take it up from and keep it in."""

    anchors: tuple[Anchor, ...] = ()
    resume: Path | None = None
    on_block: OnBlock | None = None


PLAIN: Final = AuditOptions()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def audit_folder(genesis: Genesis, folder: Path, options: AuditOptions = PLAIN) -> AuditReport:
    """Audit a folder of exported blocks, with a progress bar on standard error where that is a terminal.

    Raises:
        ConfigError: there are no blocks in it, they can't be read, or the file to resume from is of something else.
    """
    files = block_files(folder)
    name = f"the blocks in {folder.absolute()}"
    with _store(options, genesis, name) as store, _helpers(genesis, len(files)) as pool:
        auditor = _auditor(genesis, options, store, pool, strict=True)
        done = auditor.report.height
        rest = [(height, path) for height, path in files if height > done]

        async def windows() -> AsyncIterator[Sequence[Source]]:
            for at in range(0, len(rest), WINDOW_BLOCKS):
                found = read_blocks(rest[at : at + WINDOW_BLOCKS])
                yield [Source(path.name, content, height, height) for height, path, content in found]

        with _bar("auditing", len(files), done) as advance:
            return asyncio.run(audit(auditor, windows(), advance))


async def audit_topic(genesis: Genesis, settings: Settings, options: AuditOptions = PLAIN) -> AuditReport:
    """Audit the blocks topic, and the chain log as far as it still holds what the blocks consumed.

    Raises:
        ConfigError: a setting is missing, or the file to resume from is of something else.
        TransientError: Kafka is away.
    """
    blocks, log = (
        kafka_reader(settings, genesis, topic) for topic in (settings.topics.blocks, genesis.topic)
    )
    try:
        first, end = await blocks.bounds()
        log_first, log_end = await log.bounds()
        name = f"topic {settings.topics.blocks} partition {genesis.partition}"
        with _store(options, genesis, name) as store, _helpers(genesis, end - first) as pool:
            auditor = _auditor(genesis, options, store, pool, strict=False, log_first=log_first)
            start = max(first, auditor.position)
            with _bar("auditing", end - first, start - first) as advance:
                report = await audit(auditor, topic_windows(blocks, start, end), advance)
        report.log_blocks, report.topic_end = 0, end
        report.log_missing = max(0, auditor.state.head.next_offset - log_end)
        if report.finding is None and auditor.log_start is not None:
            log_audit = LogAudit(auditor.log_start, log, auditor.state.head.incarnation, log_end)
            position = auditor.log_start.position
            with _bar("chain log", end - position, 0) as advance:
                await _compare_log(report, log_audit, topic_windows(blocks, position, end), advance)
        return report
    finally:
        await blocks.close()
        await log.close()


async def _compare_log(
    report: AuditReport,
    log_audit: LogAudit,
    windows: AsyncIterator[list[Source]],
    advance: Callable[[int], None],
) -> None:
    async for window in windows:
        for source in window:
            assert not isinstance(source.data, tuple)  # noqa: S101  records of a topic are no leaves
            report.finding = await log_audit.take(source.data or b"", source.name)
            report.log_blocks = log_audit.compared
            if report.finding is not None:
                return
        advance(len(window))


def audit_tiles(genesis: Genesis, read: Read, name: str, options: AuditOptions = PLAIN) -> AuditReport:
    """Audit an exported log by its tiles; ``read`` gives its files, ``name`` says whose they are.

    Raises:
        ConfigError: the file to resume from is of something else.
        TransientError: as ``read`` raises it.
    """
    with _store(options, genesis, f"the log at {name}") as store:
        log = TileAudit(genesis, read)
        size = log.open()
        with _helpers(genesis, size // _LEAVES_PER_BLOCK) as pool:
            auditor = _auditor(genesis, options, store, pool, strict=True)
            with _bar("auditing leaves", size, auditor.report.tree_size) as advance:
                return asyncio.run(log.run(auditor, advance))


@contextmanager
def opened_tiles(place: str) -> Iterator[Read]:
    """Give what reads the files of an exported log, in a folder or at a URL.

    Raises:
        ConfigError: there is no such folder.
    """
    if place.startswith(("http://", "https://")):
        client = TileClient(place)
        try:
            yield client.read
        finally:
            client.close()
        return
    if not Path(place).is_dir():
        raise ConfigError(f"there is no folder {place}; name one with exported tiles, or their URL")
    yield TileFiles(Path(place)).read


def kafka_reader(settings: Settings, genesis: Genesis, topic: str) -> KafkaPartitionReader:
    """Return a reader of the chain's partition of a topic.

    Raises:
        ConfigError: setting kafka.bootstrap is missing.
    """
    connection = kafka_connection(settings, "audit")
    return KafkaPartitionReader(connection, topic, genesis.partition)


def _auditor(
    genesis: Genesis,
    options: AuditOptions,
    store: SqlAuditStore,
    pool: SurveyPool | None,
    *,
    strict: bool,
    log_first: int | None = None,
) -> Auditor:
    return Auditor(
        genesis,
        strict=strict,
        pool=pool,
        anchors=options.anchors,
        store=store,
        on_block=options.on_block,
        log_first=log_first,
    )


@contextmanager
def _store(options: AuditOptions, genesis: Genesis, source: str) -> Iterator[SqlAuditStore]:
    store = SqlAuditStore(options.resume, genesis, source)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _helpers(genesis: Genesis, blocks: int) -> Iterator[SurveyPool | None]:
    pool = SurveyPool(genesis, cores()) if blocks >= _HELPED_FROM else None
    try:
        yield pool
    finally:
        if pool is not None:
            pool.close()


@contextmanager
def _bar(text: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda count: bar.advance(task, count)
