"""Caring for keys at rest: which there are, sealing plain ones, another passphrase."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ops.tls.exchange import CA_FOLDER
from ops.tls.generation import key_files_in
from ops.tls.holders import PKI_FOLDER
from pipeline.adapters.keystore import MAX_KEY_FILE_BYTES, is_plain_key, plain_fields
from pipeline.adapters.passphrase import Passphrase
from pipeline.adapters.private_files import read_private, replace_private_and_blank
from pipeline.adapters.sealed_file import Sealer, about_sealed, cost_of, is_sealed
from pipeline.apps.keys import key_files, key_vault, reading_keys
from pipeline.config import Settings
from pipeline.core.errors import ConfigError

_SPOOL: Final = "spool"
_UNKNOWN: Final = "?"
_MAX_FILE_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as its file tells it in clear: ``form`` is sealed, wrapped (in the vault) or plain."""

    form: str
    use: str
    algorithm: str
    place: str

    def fields(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SealedAll:
    """What was sealed: key files, and how many keys went into the vault."""

    files: tuple[Path, ...]
    vault: int


def listing(settings: Settings) -> list[KeyRow]:
    """Return the key files that the settings name and the keys of the vault; opens none.

    Raises:
        ConfigError: a file is open to others.
    """
    rows = []
    secrets = _secrets(settings)
    for path in (*_files(settings), *secrets):
        content = read_private(path, MAX_KEY_FILE_BYTES)
        told = about_sealed(content) if is_sealed(content) else plain_fields(content)
        use = secrets.get(path) or told.get("use", _UNKNOWN)
        form = "sealed" if is_sealed(content) else "plain"
        rows.append(KeyRow(form, use, told.get("algorithm", ""), str(path)))
    for key in key_vault(settings).keys():  # noqa: SIM118  no mapping
        rows.append(KeyRow("wrapped", "platform", key.algorithm, key.fingerprint.hex()))
    for key in reading_keys(settings).vault.keys():  # noqa: SIM118  no mapping
        rows.append(KeyRow("wrapped", "reader", key.algorithm, key.fingerprint.hex()))
    return rows


def seal_all(settings: Settings, authority: Path | None = None) -> SealedAll:
    """Seal every plain key file that the settings name, and take plain platform keys into the vault.

    ``authority`` is a folder of certificate authorities elsewhere than in the data folder.

    Raises:
        ConfigError: a file can't be read or written, or is no key file.
    """
    done = []
    at_site = {settings.site.key.absolute(), settings.site.spool_key.absolute()}
    for path in _files(settings):
        if key_files(settings, at_site=path in at_site).seal(path):
            done.append(path)
    for path, use in _secrets(settings, authority).items():
        if key_files(settings, at_site=path in at_site).seal_secret(path, use):
            done.append(path)
    return SealedAll(tuple(done), key_vault(settings).take_in_plain())


def change_passphrase(settings: Settings, new: Path, only: Sequence[Path] | None) -> int:
    """Seal key files, or only some, under the passphrase in another file; return how many were changed.

    Raises:
        ConfigError: the new file is missing or too short, or one does not open.
    """
    passphrase = Passphrase(new)
    passphrase.get()
    old, changed = key_files(settings).sealer, 0
    for path in only or (*_files(settings), *_secrets(settings), *_generation_files(settings)):
        content = read_private(path, _MAX_FILE_BYTES)
        if not is_sealed(content):
            raise ConfigError(f"{path} is not sealed: run `bkdms keys seal` first", code="config.plain_key")
        sealer = Sealer(passphrase, cost_of(content))
        try:
            about, plain = old.open(content, str(path))
        except ConfigError:
            sealer.open(content, str(path))  # changed by a run that was interrupted, or neither
            continue
        replace_private_and_blank(path, sealer.seal(plain, about))
        changed += 1
    return changed


def _generation_files(settings: Settings) -> Iterator[Path]:
    for vault in (key_vault(settings), reading_keys(settings).vault):
        path = vault.generation_file()
        if path is not None:
            yield path


def _files(settings: Settings) -> list[Path]:
    """Return the key files that are there: as the settings name them, and those beside the chain's."""
    named = [settings.registrar.key, settings.export.key, settings.site.key]
    named += [settings.access.token_key, settings.access.log_key]
    named += [path for path in (settings.node.key, settings.node.mldsa44_key) if path is not None]
    beside = sorted((settings.data_dir / "chain" / "keys").glob("*.json"))
    found = dict.fromkeys(path.absolute() for path in (*beside, *named) if path.is_file())
    return [path for path in found if _is_key_file(path)]


def _secrets(settings: Settings, authority: Path | None = None) -> dict[Path, str]:
    """Return the raw secrets that are there, with what they are for: the spool's key, keys of transport authorities."""
    spool_key = settings.site.spool_key.absolute()
    found = {spool_key: _SPOOL} if spool_key.is_file() else {}
    for folder in (settings.data_dir / PKI_FOLDER, authority):
        if folder is not None:
            found |= key_files_in(folder.absolute() / CA_FOLDER)
    return found


def _is_key_file(path: Path) -> bool:
    content = read_private(path, MAX_KEY_FILE_BYTES)
    return is_sealed(content) or is_plain_key(content)
