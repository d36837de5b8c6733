"""``bkdms keys``: private keys at rest."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.apps.cli.context import emit_json, say, settings_of
from pipeline.core.errors import ConfigError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as data.")]

keys = typer.Typer(
    no_args_is_help=True,
    help="Private keys at rest: sealed under a passphrase (keys.passphrase_file), the platform's in a vault.",
)


@keys.command("list")
def list_keys(ctx: typer.Context, *, json: JsonFlag = False) -> None:
    """List the key files that the settings name and the keys of the vault, without opening any.

    Example: bkdms keys list --json
    """
    from pipeline.apps.key_care import listing  # noqa: PLC0415

    rows = listing(settings_of(ctx))
    if json:
        emit_json({"keys": [row.fields() for row in rows]})
        return
    for row in rows:
        print(f"{row.form:8} {row.use:10} {row.algorithm:11} {row.place}")


@keys.command()
def seal(
    ctx: typer.Context,
    *,
    authority: Annotated[
        Path | None,
        typer.Option(help="Folder of certificate authorities elsewhere, as of `bkdms provision files`."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Seal plain key files in their places, and take the platform's plain keys into the vault.

    For data folders of earlier releases: every key file that the settings name, those of the chain, of the site and
    of the certificate authorities included. Sealed ones stay as they are. Stop the platform worker and registrar
    commands before.

    Example: bkdms keys seal
    """
    from pipeline.apps.key_care import seal_all  # noqa: PLC0415

    done = seal_all(settings_of(ctx), authority)
    if json:
        emit_json({"sealed": [str(path) for path in done.files], "vault": done.vault})
        return
    for path in done.files:
        say(f"sealed {path}")
    say(f"{len(done.files)} files sealed, {done.vault} keys taken into the vault")


@keys.command()
def destroy(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="FINGERPRINT", help="Fingerprint of a key of the vault.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: JsonFlag = False,
) -> None:
    """Destroy one of the platform's sealing keys for good: what was sealed to it alone opens never again.

    A new generation of the vault begins. From then on no earlier copy or backup of the vault opens, so that the key
    does not come back; take a new backup at once, and copy the generation file anew to where its copy is kept.

    Example: bkdms keys destroy 9f2c… --yes
    """
    from pipeline.apps.keys import key_vault  # noqa: PLC0415

    try:
        fingerprint = bytes.fromhex(key)
    except ValueError:
        raise ConfigError(f"{key}: a fingerprint is 64 hexadecimal digits; see `bkdms keys list`") from None
    if not yes and not typer.confirm(f"Destroy {key}? Nobody can undo it", err=True):
        raise typer.Exit(1)
    vault = key_vault(settings_of(ctx))
    generation = vault.destroy(fingerprint, int(datetime.now(UTC).timestamp() * 1000))
    if json:
        emit_json({"destroyed": key, "generation": generation})
        return
    say(
        f"destroyed; generation {generation} of the vault is in force and earlier backups of it open no more: take a "
        f"new one (`bkdms backup create`), and copy {vault.generation_file()} anew to where its copy is kept"
    )


@keys.command()
def passphrase(
    ctx: typer.Context,
    new: Annotated[Path, typer.Argument(metavar="FILE", help="File with the new passphrase, mode 0600.")],
    *,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", help="Change this key file alone; repeat. (default: all that the settings name)"
        ),
    ] = None,
) -> None:
    """Seal key files and the vault's generation under another passphrase, then name FILE by keys.passphrase_file.

    Each file is replaced at once or not at all; after an interruption run it again. Copies and backups stay under
    the passphrase that they were made with.

    Example: bkdms keys passphrase ~/.config/bkdms/passphrase.new
    """
    from pipeline.apps.key_care import change_passphrase  # noqa: PLC0415

    changed = change_passphrase(settings_of(ctx), new, file)
    say(f"{changed} files are sealed under the passphrase in {new}: name it by keys.passphrase_file")
