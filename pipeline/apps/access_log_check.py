"""Checks the access log in a folder against itself and against the heads in the ledger."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.access_log_files import log_files, read_lines
from pipeline.adapters.journal_file import JournalFile
from pipeline.adapters.kafka import IdempotentProducer, KafkaPartitionReader
from pipeline.apps.authority import load_genesis
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.keys import key_files
from pipeline.config import Settings
from pipeline.core.access_log import LogCheck, beginning
from pipeline.core.control import AccessLogHead
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.services.access_anchor import AccessLogDesk, known_heads
from pipeline.services.registry_view import RegistryView


@dataclass(frozen=True, slots=True)
class LogReport:
    """What a check found: lines seen, the last line confirmed by the ledger, the first problem or None."""

    check: LogCheck
    files: int
    problem: str | None

    @property
    def count(self) -> int:
        """The number of the last line."""
        return 0 if self.check.head is None else self.check.head.count


def check_folder(folder: Path, chain: bytes, anchored: Sequence[AccessLogHead] = ()) -> LogReport:
    """Check all files of a log that are still kept; one that begins at line 1 has to begin beside ``chain``.

    Raises:
        ConfigError: there is no log, or it can't be read.
        IntegrityError: the anchored heads contradict one another.
    """
    files = log_files(folder)
    if not files:
        raise ConfigError(f"{folder} holds no access log; name its folder", code="config.access_log")
    # Files that were kept long enough are gone; the first that is left says where the log goes on.
    is_whole = files[0].name.endswith("000000000001.jsonl")
    check = LogCheck(beginning(chain) if is_whole else None, known_heads(anchored))
    for file in files:
        problem = _first_problem(file, check, is_newest=file == files[-1])
        if problem is not None:
            return LogReport(check, len(files), problem)
    missing = check.missing()
    cut = f"the log ends before line {missing}, whose hash is in the ledger: it was cut"
    return LogReport(check, len(files), None if missing is None else cut)


def _first_problem(file: Path, check: LogCheck, *, is_newest: bool) -> str | None:
    for place, line in enumerate(read_lines(file), 1):
        if is_newest and not line.endswith(b"\n"):
            return None  # the API is about to write it
        problem = check.take(line)
        if problem is not None:
            return f"{file} line {place} {problem}"
    return None


@dataclass(frozen=True, slots=True)
class AnchorDesk:
    """The desk of the access log's key at work, and what it anchored before."""

    desk: AccessLogDesk
    view: RegistryView
    issuer: bytes
    chain: bytes

    async def anchored(self) -> Sequence[AccessLogHead]:
        """Return every head that the key has in the ledger, after what was signed before is in it, too.

        Raises:
            ConfigError: the ledger names another key for the access log.
            ConflictError, IntegrityError, TransientError: as for ``RegistrarDesk.settle``.
        """
        await self.desk.settle()
        return self.view.log_heads(self.issuer)


@asynccontextmanager
async def open_anchor_desk(settings: Settings) -> AsyncIterator[AnchorDesk]:
    """Open the desk of the access log's key, and leave Kafka and the journal at the end.

    Raises:
        ConfigError: a setting or file is missing or wrong.
        TransientError: another such command is at work.
    """
    genesis = load_genesis(settings.genesis)
    key_file = settings.access.log_key
    signer = key_files(settings).signer(key_file, Use.ACCESS_LOG)
    connection = kafka_connection(settings, "access-log")
    blocks = KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition)
    producer = IdempotentProducer(connection)
    view = RegistryView(genesis, blocks)
    with JournalFile(key_file, genesis.chain) as journal:
        desk = AccessLogDesk(signer, genesis, view, journal, producer)
        try:
            yield AnchorDesk(desk, view, signer.public.fingerprint, genesis.chain)
        finally:
            await producer.close()
            await blocks.close()
