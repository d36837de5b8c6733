"""Private keys as the settings say: which passphrase, which vault, what is mounted."""

import getpass
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

from pipeline.adapters.key_files import KeyFiles
from pipeline.adapters.passphrase import Ask, Passphrase
from pipeline.adapters.reading_keys import ReadingKeys
from pipeline.adapters.sealed_file import Cost, Sealer
from pipeline.adapters.vault import KeyVault
from pipeline.apps.cli.context import say
from pipeline.config import KeysSettings, Settings
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use

# 32 MiB, since a site's agent has 100 MB in all; a guess costs as much work as elsewhere.
_SITE_LOG2_N: Final = 15


def key_files(settings: Settings, *, at_site: bool = False) -> KeyFiles:
    """Return what opens and makes key files; ``at_site`` seals them so that a small machine's memory opens them.

    Raises:
        ConfigError: passphrase or generations would lie in the data folder (``config.keys``).
    """
    keys = settings.keys
    _refuse_inside(settings)
    plain = _tell_plain if keys.insecure_plain_files else None
    return KeyFiles(_sealer(keys, at_site), mounted=keys.mounted_dir, plain=plain)


def key_vault(settings: Settings) -> KeyVault:
    """Return the vault of the platform's sealing keys.

    Raises:
        ConfigError: passphrase or generations would lie in the data folder or beside the keys (``config.keys``).
    """
    keys = settings.keys
    _refuse_inside(settings)
    plain = _tell_plain if keys.insecure_plain_files else None
    return KeyVault(settings.platform.keys_dir, keys.generations_dir, _sealer(keys), plain=plain)


def reading_keys(settings: Settings) -> ReadingKeys:
    """Return a site's own keys to read its packets with.

    Raises:
        ConfigError: passphrase or generations would lie in the data folder or beside the keys (``config.keys``).
    """
    keys, folder = settings.keys, settings.site.reading_keys
    _refuse_inside(settings)
    vault = KeyVault(folder, keys.generations_dir, _sealer(keys, at_site=True), use=Use.READER)
    return ReadingKeys(vault)


def backup_sealer(settings: Settings, passphrase_file: Path | None) -> Sealer:
    """Return what seals and opens backups: under a passphrase of theirs, or under that of the keys."""
    return _sealer_of(passphrase_file or settings.keys.passphrase_file, settings.keys.scrypt_log2_n)


def asked_on_terminal() -> Ask | None:
    """Return what asks a person for a passphrase, or None where standard input is no terminal."""
    return getpass.getpass if sys.stdin is not None and sys.stdin.isatty() else None


@lru_cache(maxsize=8)
def _sealer_of(passphrase_file: Path, log2_n: int) -> Sealer:
    """Return one sealer for all uses in this process, so that a passphrase is asked for and stretched once."""
    return Sealer(Passphrase(passphrase_file, asked_on_terminal(), _tell_made), Cost.of(log2_n))


def _sealer(keys: KeysSettings, at_site: bool = False) -> Sealer:
    log2_n = min(keys.scrypt_log2_n, _SITE_LOG2_N) if at_site else keys.scrypt_log2_n
    return _sealer_of(keys.passphrase_file, log2_n)


def _refuse_inside(settings: Settings) -> None:
    """A copy of the data folder must not carry what opens its keys."""
    folders = (settings.data_dir, settings.platform.keys_dir, settings.site.reading_keys)
    places = {
        "keys.passphrase_file": settings.keys.passphrase_file,
        "keys.generations_dir": settings.keys.generations_dir,
    }
    for name, place in places.items():
        for folder in folders:
            if place.resolve().is_relative_to(folder.resolve()):
                raise ConfigError(
                    f"setting {name}: {place} is in {folder}, whose copies would then open themselves; name a place "
                    "outside",
                    code="config.keys",
                )


def _tell_made(path: Path) -> None:
    say(f"made {path}, which opens the keys from now on: keep a copy of its folder apart from the data")


@lru_cache(maxsize=64)
def _tell_plain(path: Path) -> None:
    say(f"warning: key file {path} is not sealed: `bkdms keys seal` seals it")
