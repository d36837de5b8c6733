"""``bkdms backup``: copy what can't be rebuilt, check such a copy, and live on from it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.apps.backup import making
from pipeline.apps.backup.restoring import Revived, revive
from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.apps.cli.progress import block_progress
from pipeline.apps.keys import backup_sealer
from pipeline.config import default_data_dir, load_settings

_FOUND_WRONG: Final = 1
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]
Backup = Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder of a backup.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        help="File with the backup's passphrase. (default: the one of the keys, keys.passphrase_file)"
    ),
]

backup = typer.Typer(
    no_args_is_help=True,
    help="Back up what can't be rebuilt: authority, keys, certificates, nodes' folders, all blocks. "
    "All but blocks and genesis file is sealed under the passphrase of the keys, or another one.",
)


@backup.command()
def create(
    ctx: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="BACKUP", help="New folder to write to.")],
    *,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Data folder of a stack that `bkdms up` runs.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: JsonFlag = False,
) -> None:
    """Copy keys, certificates, nodes' folders and every published block while everything runs.

    The folder appears when all of it is written. Take one every day, keep several, and keep the newest where
    this machine's loss does not reach it. The store, Redis, tiles and the API's view are not in it: they are
    built again from the blocks.

    Example: bkdms backup create /mnt/backups/2026-11-20
    """
    settings = settings_of(ctx)
    if data_dir is not None:
        settings = load_settings(data_dir / "bkdms.toml")
    sealer = backup_sealer(settings, passphrase_file)
    made = making.make_backup(settings, target.absolute(), datetime.now(UTC), sealer)
    if json:
        emit_json({"height": made.height, "root": made.root, "files": len(made.files), "made": made.made})
    else:
        size = sum(file.bytes for file in made.files.values()) / 1e6
        say(f"{target} holds {len(made.files)} files, {size:.1f} MB, and the chain up to block {made.height}")


@backup.command()
def check(
    ctx: typer.Context, folder: Backup, *, passphrase_file: PassphraseFile = None, json: JsonFlag = False
) -> None:
    """Compare every file with the backup's list, and verify every block with its certificate; needs no server.

    Where the passphrase is at hand, every file is opened, too.

    Exit code 1: something is missing, changed or does not verify; each is named.

    Example: bkdms backup check /mnt/backups/2026-11-20
    """
    with block_progress() as progress:
        sealer = backup_sealer(settings_of(ctx), passphrase_file)
        at_hand = sealer if sealer.passphrase.file.exists() else None
        found = making.check_backup(folder, progress, at_hand)
    if json:
        told = {"height": found.height, "root": found.root, "problems": list(found.problems)}
        emit_json({**told, "opened": found.is_opened})
    else:
        for problem in found.problems:
            print(f"BAD  {problem}")
        if not found.problems:
            files = f"{len(found.manifest.files)} files"
            opened = files if found.is_opened else f"{files} (not opened: no passphrase at hand)"
            say(f"good: {opened}, blocks up to {found.height}, of {found.manifest.made}")
    if found.problems:
        raise typer.Exit(_FOUND_WRONG)


@backup.command()
def restore(
    ctx: typer.Context,
    folder: Backup,
    *,
    passphrase_file: PassphraseFile = None,
    without_platform_keys: Annotated[
        bool,
        typer.Option(
            "--without-platform-keys",
            help="Leave the platform's vault out; packets stay closed that it opens.",
        ),
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="New data folder; default: the usual one.")
    ] = None,
    new_ports: Annotated[
        bool, typer.Option("--new-ports", help="Listen on other ports; sites then need the new addresses.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Make a data folder from a backup, fill a new Kafka with its blocks, and let the chain go on after the last.

    NEVER while what was backed up may still run or come back: the same keys would sign two histories. Before that,
    collect what is newer than the backup: a file of `bkdms export blocks`, nodes' folders (see docs/operations.md,
    After losing Kafka). If the root keys are kept elsewhere, their holders sign by `bkdms ledger reanchor`; the command
    says so. Afterwards: `bkdms up`. Sites send again what was in no block yet.

    Example: bkdms backup restore /mnt/backups/2026-11-20 --data-dir restored
    """
    target = (data_dir or default_data_dir()).absolute()
    with block_progress() as progress:
        settings = settings_of(ctx)
        done = revive(
            folder.absolute(),
            target,
            sealer=backup_sealer(settings, passphrase_file),
            generations=settings.keys.generations_dir,
            new_ports=new_ports,
            without_platform_keys=without_platform_keys,
            say=say,
            progress=progress,
        )
    if json:
        emit_json(
            {
                "height": done.restored.height,
                "problems": list(done.restored.problems),
                "incarnation": done.reanchored.incarnation if done.reanchored else None,
            }
        )
    else:
        _tell(done, target)
    if not done.is_whole:
        raise typer.Exit(_FOUND_WRONG)


def _tell(done: Revived, target: Path) -> None:
    for problem in done.restored.problems:
        print(f"BAD  {problem}")
    say(f"{target} holds the chain up to block {done.restored.height}")
    if done.reanchored is not None:
        say(
            f"it goes on in incarnation {done.reanchored.incarnation} of its log: bkdms up --data-dir {target}"
        )
    else:
        say(
            f"before it goes on, {done.root_keys_needed} root keys must sign: bkdms up --servers --data-dir {target}, "
            f"then bkdms ledger reanchor"
        )
