"""Makes a backup of a data folder and its chain, and checks one, blocks included."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pipeline.adapters.block_container import BlockContainer, read_container
from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.adapters.private_files import PRIVATE_FOLDER_MODE
from pipeline.adapters.sealed_file import Sealer
from pipeline.apps.authority import ChainFiles, load_genesis
from pipeline.apps.backup.contents import (
    BLOCKS,
    DATA,
    Manifest,
    copy_data,
    damaged_files,
    differences,
    list_files,
    opened_key,
    read_manifest,
    write_manifest,
)
from pipeline.apps.backup.sealing import BackupKey
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.config import Settings
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.replica import Extended, extend
from pipeline.core.state import ChainState
from pipeline.services.follower import Follower, follow_to_end

_CHAIN: Final = "chain"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a backup holds as checked: height and root reached, and what is wrong, a line each."""

    manifest: Manifest
    height: int
    root: str
    problems: tuple[str, ...]
    is_opened: bool


def make_backup(settings: Settings, target: Path, now: datetime, sealer: Sealer) -> Manifest:
    """Copy what can't be rebuilt and all published blocks to a new folder, which appears when it is whole.

    All but blocks and genesis file is sealed under a key that ``sealer`` seals.

    Folders first, then blocks, so that no node's folder is ahead of what was exported by more than is under way.

    Raises:
        ConfigError: the target is there, or something can't be read or written.
        IntegrityError: the blocks topic contradicts itself.
        TransientError: Kafka is away.
    """
    require_compiled_reader()
    if target.exists():
        raise ConfigError(f"{target} is there already: name a new folder for each backup")
    genesis = load_genesis(settings.genesis)
    draft, key = target.with_name(f".{target.name}.new"), BackupKey.new()
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True)
        copy_data(settings.data_dir, draft / DATA, key)
        height, root = asyncio.run(_export_blocks(settings, genesis, draft / BLOCKS))
        manifest = Manifest(
            genesis.chain.hex(),
            genesis.url,
            height,
            root.hex(),
            now.isoformat(timespec="seconds"),
            list_files(draft),
        )
        manifest = write_manifest(draft, manifest, key, sealer)
        draft.replace(target)
    except OSError as error:
        raise ConfigError(f"can't make {target}: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


async def _export_blocks(settings: Settings, genesis: Genesis, file: Path) -> tuple[int, bytes]:
    """Write all published blocks; return height and root of the last."""
    container = BlockContainer(file, genesis)
    connection = kafka_connection(settings, "backup")
    reader = KafkaPartitionReader(connection, settings.topics.blocks, genesis.partition)
    follower = Follower(genesis, reader, container)
    try:
        await follow_to_end(follower)
        root = container.root_of_size(follower.tree_size) or ChainState(genesis).head.frontier.root()
        container.finish()
        return follower.height, root
    finally:
        container.discard()
        await follower.close()


def check_backup(backup: Path, progress: Callable[[int], None], sealer: Sealer | None) -> Checked:
    """Compare every file with the manifest; verify every block from the genesis file on; ``progress`` hears heights.

    With ``sealer`` authenticate the manifest and open every file, too.

    Raises:
        ConfigError: the folder is no backup, or the passphrase is another one.
    """
    require_compiled_reader()
    manifest = read_manifest(backup)
    problems = differences(backup, manifest)
    if sealer is not None:
        problems += damaged_files(backup, opened_key(backup, manifest, sealer))
    genesis = ChainFiles(backup / DATA / _CHAIN).genesis()
    state = ChainState(genesis)
    if genesis.chain.hex() != manifest.chain:
        problems.append("the genesis file is of another chain than the manifest says")
    try:
        for certified in read_container(backup / BLOCKS):
            result = extend(state, certified)
            if not isinstance(result, Extended):
                problems.append(f"{BLOCKS}: after block {state.head.height}: {result}")
                break
            progress(state.head.height)
    except ConfigError as error:
        problems.append(str(error))
    root = state.head.frontier.root().hex()
    if not problems and (state.head.height, root) != (manifest.height, manifest.root):
        problems.append(f"the blocks end at block {state.head.height}, not at block {manifest.height}")
    return Checked(manifest, state.head.height, root, tuple(problems), sealer is not None)
