"""``bkdms worker export``: writes tiles and the signed checkpoint as blocks are published."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.adapters.kafka import KafkaConnection, KafkaPartitionReader
from pipeline.adapters.sql.export_store import SqlExportStore
from pipeline.adapters.tile_files import TileFiles
from pipeline.adapters.witness_client import HttpWitnessClient
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import settings_of
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.keys import key_files
from pipeline.apps.observed import begin
from pipeline.apps.runtime import DeferredLoop, LoopService, WorkerOptions, run_worker
from pipeline.apps.upkeep import upkeep_of
from pipeline.config import Settings, required
from pipeline.config.transport import demand_tls
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import Use
from pipeline.core.policy_file import policy_text
from pipeline.core.tlog_policy import MAX_POLICY_BYTES, POLICY_FILE, PolicyFileProblem, parse_policy
from pipeline.services.exporter import ExportParts, ExportPolicy, ExportWorker

STATE_FOLDER: Final = ".state"
"""The exporter's own state, in the export folder; never served."""
_FOLDER_MODE: Final = 0o755


def export_worker(
    settings: Settings, genesis: Genesis, connection: KafkaConnection, folder: Path
) -> ExportWorker:
    """Put an exporter on Kafka, the log key and a folder together.

    Raises:
        ConfigError: a setting, the key, the policy or the folder is wrong, or another process exports to it.
        TransientError: the folder can't be used right now.
    """
    require_compiled_reader()
    signer = key_files(settings).signer(settings.export.key, Use.LOG)
    path = settings.export.policy
    policy = policy_text(genesis).encode() if path is None else _read_policy(path)
    publishing = (
        None if path is None else _publishing(path, policy, insecure=settings.transport.insecure_witnesses)
    )
    _make_folder(folder)
    parts = ExportParts(
        genesis,
        signer,
        KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition),
        TileFiles(folder),
        SqlExportStore(folder / STATE_FOLDER, genesis),
        publishing,
    )
    pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="signatures")
    worker = ExportWorker(parts, pool, trusted=not settings.export.check_signatures)
    _offer_policy(folder, policy)
    return worker


def _read_policy(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"policy file {path} of setting export.policy: {error.strerror}", code="config.file"
        ) from None


def _publishing(path: Path, data: bytes, *, insecure: bool) -> ExportPolicy:
    policy = parse_policy(data)
    if isinstance(policy, PolicyFileProblem):
        raise ConfigError(f"policy file {path} of setting export.policy: {policy}", code="policy")
    for witness in policy.witnesses:
        if witness.url is not None:
            demand_tls(witness.url, insecure, "transport.insecure_witnesses", f"witness {witness.name}")
    return ExportPolicy(policy, HttpWitnessClient())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"export folder {folder}: {error.strerror}", code="config.file") from None


def _offer_policy(folder: Path, policy: bytes) -> None:
    """Put the policy that the checkpoints fulfil beside them."""
    draft = folder / f".{POLICY_FILE}.new"
    try:
        draft.write_bytes(policy)
        draft.replace(folder / POLICY_FILE)
    except OSError as error:
        raise ConfigError(f"export folder {folder}: {error.strerror}", code="config.file") from None


def export(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option(help="Name of this worker in logs and at Kafka.")] = "export",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Check every block and write it as C2SP tiles with a signed checkpoint, for outsiders (export.folder).

    Needs the log's key (export.key), which signs only checkpoints that a quorum certified. One runs per folder. Goes
    on from where it stopped, after a crash too. `bkdms serve` offers the folder under /tiles.

    With export.policy it asks outside witnesses too and publishes a checkpoint when that policy's quorum holds. It
    halts where one of them reports a fork or a rollback.

    Example: bkdms --config export.toml worker export
    """
    settings = settings_of(ctx)
    begin("export", settings, log_level)
    genesis = load_genesis(settings.genesis)
    folder = required(settings.export.folder, "export.folder")
    connection = kafka_connection(settings, name)
    options = WorkerOptions(
        name,
        settings,
        connection,
        settings.data_dir / "workers" / name,
        upkeep_of("export", settings),
    )
    loop = DeferredLoop(lambda: export_worker(settings, genesis, connection, folder))
    code = run_worker(lambda: LoopService(loop), options)
    raise typer.Exit(code)
