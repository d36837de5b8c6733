"""Brings a backup back to life on one machine: files, Kafka filled with its blocks, the chain log anchored anew."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.adapters.sealed_file import Sealer
from pipeline.adapters.vault import VAULT_FILE, generations_of, vault_id
from pipeline.adapters.vault_generation import generation_in_force
from pipeline.apps.authority import ChainFiles, ChainPlan
from pipeline.apps.backup.contents import BLOCKS, copy_back, differences, opened_key, read_manifest
from pipeline.apps.ledger_restore import Sources, append_reanchor, restore_blocks
from pipeline.apps.local.deployment import LocalDeployment, LocalPlan
from pipeline.config import Settings, load_settings
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.services.reanchor import Reanchored
from pipeline.services.restore import Restored

_PORTS: Final = ("ports.json", "worker-ports.json")
_VAULT: Final = Path("platform/keys")
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Revived:
    """What came back; ``reanchored`` is None where too few root keys are in the backup, or blocks are missing."""

    restored: Restored
    reanchored: Reanchored | None
    root_keys_needed: int
    settings_file: Path

    @property
    def is_whole(self) -> bool:
        """Whether every block came back, so that the chain may go on."""
        return not self.restored.problems


def revive(
    backup: Path,
    data_dir: Path,
    *,
    sealer: Sealer,
    generations: Path,
    new_ports: bool = False,
    without_platform_keys: bool = False,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> Revived:
    """Make a data folder from a backup; ``progress`` hears heights. Nothing runs in it afterwards: ``bkdms up`` does.

    ``sealer`` opens it; what opens the platform's vault is in ``generations``.

    Raises:
        ConfigError: the backup is damaged or does not open, its vault is older than the one in force, the folder is in
            use, or its ports are.
        IntegrityError: two valid certificates contradict each other.
        TransientError: a server did not start.
    """
    manifest = read_manifest(backup)
    if problems := differences(backup, manifest):
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ConfigError(f"{backup} is damaged: {'; '.join(problems[:_SHOWN])}{more}")
    key = opened_key(backup, manifest, sealer)
    if data_dir.exists() and any(data_dir.iterdir()):
        raise ConfigError(f"{data_dir} is not empty: name a new folder to restore to")
    try:
        copy_back(backup, data_dir, key)
        vault = data_dir / _VAULT
        if without_platform_keys:
            shutil.rmtree(vault, ignore_errors=True)
        refuse_old_vault(vault, generations)
        if new_ports:
            for name in _PORTS:
                (data_dir / name).unlink(missing_ok=True)
        return _fill(backup, data_dir, say, progress)
    except BaseException:
        # Half a deployment must not be started; the backup is as it was.
        shutil.rmtree(data_dir, ignore_errors=True)
        raise


def refuse_old_vault(vault: Path, generations: Path) -> None:
    """Refuse a vault that what is in ``generations`` does not open, before anything is started on it.

    Raises:
        ConfigError: its generation file is missing, or keys were destroyed since (``config.vault``).
    """
    if not (vault / VAULT_FILE).exists():
        return
    held, in_force = generations_of(vault), generation_in_force(generations, vault_id(vault))
    if in_force is None:
        raise ConfigError(
            f"what opens the platform's keys in this backup is not in {generations}: put its copy there, or leave "
            "those keys out by --without-platform-keys",
            code="config.vault",
        )
    if any(number < in_force for number in held):
        raise ConfigError(
            f"the platform's keys in this backup are of generation {min(held)}, and {in_force} is in force since keys "
            "were destroyed: they open no more; use a newer backup, or leave them out by --without-platform-keys",
            code="config.vault",
        )


def _fill(
    backup: Path, data_dir: Path, say: Callable[[str], None], progress: Callable[[int], None]
) -> Revived:
    chain = ChainFiles(data_dir / "chain")
    genesis = chain.genesis()
    deployment = LocalDeployment(data_dir, LocalPlan(ChainPlan(genesis.url)), say=say)
    deployment.start(servers_only=True)
    try:
        settings = load_settings(data_dir / "settings" / f"{genesis.policy.node_names[0]}.toml")
        sources = Sources([backup / BLOCKS], _node_folders(data_dir, genesis))
        restored = asyncio.run(restore_blocks(settings, sources, progress))
        can_go_on = not restored.problems and not any(item.blocks_the_chain for item in restored.unfinished)
        reanchored = _reanchor(settings, chain, genesis) if can_go_on else None
    finally:
        deployment.stop()
    return Revived(restored, reanchored, genesis.root_threshold, deployment.settings_file)


def _node_folders(data_dir: Path, genesis: Genesis) -> list[Path]:
    folders = (data_dir / "nodes" / name for name in genesis.policy.node_names)
    return [folder for folder in folders if folder.is_dir()]


def _reanchor(settings: Settings, chain: ChainFiles, genesis: Genesis) -> Reanchored | None:
    """Let the chain go on in the new, empty log, where enough root keys are at hand."""
    keys = [chain.root_key(number) for number in range(1, len(genesis.root_keys) + 1)]
    held = [path for path in keys if path.exists()][: genesis.root_threshold]
    if len(held) < genesis.root_threshold:
        return None
    return asyncio.run(append_reanchor(settings, held, None))
