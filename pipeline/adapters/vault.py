"""Sealing keys at rest, the platform's or a site's own: a file each, wrapped under the key of the vault's generation.

Destroying a key begins a new generation: all others are wrapped anew, the old generation's key is overwritten. So
every older copy of the folder, a backup too, is unreadable from then on, and nothing that was destroyed comes back.
"""

import base64
import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.adapters.folder_lock import lock_folder
from pipeline.adapters.keystore import (
    MAX_KEY_FILE_BYTES,
    SealingKeyFolder,
    as_sealing_key,
    key_document,
    parse_key,
    public_fields,
    refused_key,
)
from pipeline.adapters.private_files import create_private, read_private, remove_private, replace_private
from pipeline.adapters.sealed_file import Sealer
from pipeline.adapters.vault_generation import Destroyed, GenerationFile, Generations
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.core.sealing import SealingKey

VAULT_FILE: Final = "vault.json"
WRAPPED_SUFFIX: Final = ".wrapped"
_FORMAT: Final = "bkdms-vault/v1"
_KEY_FORMAT: Final = "bkdms-vault-key/v1"
_AAD: Final = b"bkdms/vault-key/v1\x00"
_ID_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
# A reader may meet the end of a generation between two of its own steps, but not twice in a row.
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class VaultKey:
    """A key of the vault as its file tells it in clear: fingerprint (32 bytes), algorithm, generation."""

    fingerprint: bytes
    algorithm: str
    generation: int


class KeyVault:
    """The vault in ``folder``; its generation file is in ``generations``, outside.

    It holds keys of one ``use``. With ``plain`` the platform's keys in plain files are read, too; it hears of each.
    """

    def __init__(
        self,
        folder: Path,
        generations: Path,
        sealer: Sealer,
        *,
        plain: Callable[[Path], None] | None = None,
        random_bytes: Callable[[int], bytes] = token_bytes,
        use: Use = Use.PLATFORM,
    ) -> None:
        self.folder = folder
        self._use = use
        self._places = generations
        self._sealer = sealer
        self._plain = plain
        self._random = random_bytes
        self._file: GenerationFile | None = None

    def get(self, fingerprint: bytes) -> SealingKey | None:
        """Return the key with this fingerprint (32 bytes), or None where we have not got it or it was destroyed.

        Raises:
            ConfigError: it can't be opened (``config.vault``), or its file is damaged or open to others.
        """
        for _ in range(_TRIES - 1):
            with contextlib.suppress(ConfigError):
                return self._get(fingerprint)
        return self._get(fingerprint)

    def add(self, key: SealingKey) -> None:
        """Keep a key durably; one that is there already stays.

        Raises:
            ConfigError: it was destroyed before, or the folder can't be written to or is in use.
        """
        with self._locked() as generations:
            fingerprint = key.public.fingerprint
            if generations.is_destroyed(fingerprint):
                raise ConfigError(
                    f"key {fingerprint.hex()} was destroyed; it does not come back", code="config.vault"
                )
            if self.get(fingerprint) is None:
                create_private(self._path(fingerprint), self._wrap(key, generations))

    def destroy(self, fingerprint: bytes, now_ms: int) -> int:
        """Destroy a key for good, and return the generation that began; repeated, it changes nothing.

        Raises:
            ConfigError: there is no such key, or the folder can't be written to or is in use.
        """
        with self._locked() as generations:
            if generations.is_destroyed(fingerprint):
                return generations.number
            if not self._path(fingerprint).exists():
                raise ConfigError(f"the vault holds no key {fingerprint.hex()}", code="config.vault")
            number = generations.number + 1
            changing = Generations(
                number,
                {**generations.keys, number: self._random(_KEY_BYTES)},
                (*generations.destroyed, Destroyed(fingerprint, number, now_ms)),
            )
            self._generation_file().save(changing)
            self._finish(changing)
            return number

    def take_in_plain(self) -> int:
        """Wrap all keys that lie in the folder in plain files, remove those, and return how many there were.

        Raises:
            ConfigError: one is damaged, or the folder can't be written to or is in use.
        """
        plain = SealingKeyFolder(self.folder)
        found = [(path, bytes.fromhex(path.stem)) for path in self._plain_files()]
        for path, fingerprint in found:
            key = plain.get(fingerprint)
            assert key is not None  # noqa: S101  its file is there
            with self._locked() as generations:
                is_kept = not generations.is_destroyed(fingerprint) and not self._path(fingerprint).exists()
                if is_kept:
                    create_private(self._path(fingerprint), self._wrap(key, generations))
            remove_private(path)
        return len(found)

    def keys(self) -> list[VaultKey]:
        """Return what the files tell of the keys that are held, by fingerprint; nothing is opened."""
        return [
            VaultKey(bytes.fromhex(path.stem), about["algorithm"], about["generation"])
            for path in sorted(self.folder.glob(f"*{WRAPPED_SUFFIX}"))
            for about in (_read_wrapped(path)[0],)
        ]

    def destroyed(self) -> tuple[Destroyed, ...]:
        """Return the keys that were destroyed, in order.

        Raises:
            ConfigError: the generation file is missing or does not open.
        """
        return self._generations().destroyed if (self.folder / VAULT_FILE).exists() else ()

    def generation_file(self) -> Path | None:
        """Return where the generation file is, or None for a vault that was not begun."""
        return self._generation_file().path if (self.folder / VAULT_FILE).exists() else None

    def _get(self, fingerprint: bytes) -> SealingKey | None:
        path = self._path(fingerprint)
        if not path.exists():
            return self._plain_key(fingerprint)
        generations = self._generations()
        if generations.is_destroyed(fingerprint):
            return None
        return self._unwrap(path, fingerprint, generations)

    def _plain_key(self, fingerprint: bytes) -> SealingKey | None:
        path = self.folder / f"{fingerprint.hex()}.json"
        if not path.exists():
            return None
        if (self.folder / VAULT_FILE).exists() and self._generations().is_destroyed(fingerprint):
            return None
        if self._plain is None:
            raise ConfigError(
                f"key file {path} is not sealed: `bkdms keys seal` takes it into the vault",
                code="config.plain_key",
            )
        self._plain(path)
        return SealingKeyFolder(self.folder).get(fingerprint)

    def _plain_files(self) -> list[Path]:
        names = (path for path in sorted(self.folder.glob("*.json")) if path.name != VAULT_FILE)
        return [path for path in names if len(path.stem) == 2 * _KEY_BYTES]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Generations]:
        """Give what is in force to one writer at a time, begun where there was none, and after a crash finished."""
        lock = lock_folder(self.folder, "another command that adds or destroys keys")
        try:
            if not (self.folder / VAULT_FILE).exists():
                self._begin()
            generations = self._generations()
            if generations.is_changing:
                self._finish(generations)
                generations = self._generations()
            yield generations
        finally:
            os.close(lock)

    def _begin(self) -> None:
        """Make the vault; its generation file goes first, so that a vault is never without."""
        vault = self._random(_ID_BYTES)
        first = Generations(1, {1: self._random(_KEY_BYTES)})
        GenerationFile(self._places, vault, self._sealer).save(first)
        content = json.dumps({"format": _FORMAT, "vault": vault.hex()}) + "\n"
        create_private(self.folder / VAULT_FILE, content.encode())

    def _finish(self, changing: Generations) -> None:
        """Remove what was destroyed, wrap all others anew, and let go of the key of the generation before."""
        for one in changing.destroyed:
            remove_private(self._path(one.fingerprint))
        for path in sorted(self.folder.glob(f"*{WRAPPED_SUFFIX}")):
            fingerprint = bytes.fromhex(path.stem)
            if _read_wrapped(path)[0]["generation"] != changing.number:
                replace_private(path, self._wrap(self._unwrap(path, fingerprint, changing), changing))
        only = {changing.number: changing.keys[changing.number]}
        self._generation_file().save(Generations(changing.number, only, changing.destroyed))

    def _generations(self) -> Generations:
        return self._generation_file().load()

    def _generation_file(self) -> GenerationFile:
        if self._file is None:
            self._file = GenerationFile(self._places, vault_id(self.folder), self._sealer)
        return self._file

    def _wrap(self, key: SealingKey, generations: Generations) -> bytes:
        head = {
            "format": _KEY_FORMAT,
            **public_fields(key),
            "generation": generations.number,
            "nonce": self._random(_NONCE_BYTES).hex(),
        }
        cipher = AESGCM(generations.keys[generations.number])
        sealed = cipher.encrypt(bytes.fromhex(str(head["nonce"])), key_document(key), _bound(head))
        return (json.dumps({**head, "sealed": base64.b64encode(sealed).decode()}, indent=1) + "\n").encode()

    def _unwrap(self, path: Path, fingerprint: bytes, generations: Generations) -> SealingKey:
        head, sealed = _read_wrapped(path)
        generation_key = generations.keys.get(head["generation"])
        if generation_key is None:
            raise ConfigError(
                f"key file {path} is of generation {head['generation']} of the vault, and {generations.number} is in "
                "force since a key was destroyed: it is an old copy; remove it, or restore a newer backup",
                code="config.vault",
            )
        try:
            plain = AESGCM(generation_key).decrypt(bytes.fromhex(head["nonce"]), sealed, _bound(head))
        except (InvalidTag, ValueError):
            raise refused_key(path, "was changed, or is of another vault") from None
        key = as_sealing_key(parse_key(plain, path, self._use), path)
        if key.public.fingerprint != fingerprint:
            raise refused_key(path, "holds another key than its name says")
        return key

    def _path(self, fingerprint: bytes) -> Path:
        return self.folder / f"{fingerprint.hex()}{WRAPPED_SUFFIX}"


def vault_id(folder: Path) -> bytes:
    """Return the identity of the vault in a folder (16 bytes).

    Raises:
        ConfigError: there is none, or it is damaged (``config.vault``).
    """
    path = folder / VAULT_FILE
    try:
        document = json.loads(read_private(path, MAX_KEY_FILE_BYTES))
        if document["format"] != _FORMAT:
            raise ValueError("format")
        vault = bytes.fromhex(document["vault"])
        if len(vault) != _ID_BYTES:
            raise ValueError("length")
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is damaged; restore it from a backup", code="config.vault") from None
    return vault


def generations_of(folder: Path) -> set[int]:
    """Return the generations of the wrapped keys in a folder, as their files tell."""
    return {_read_wrapped(path)[0]["generation"] for path in folder.glob(f"*{WRAPPED_SUFFIX}")}


def _read_wrapped(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        document = json.loads(read_private(path, MAX_KEY_FILE_BYTES))
        sealed = base64.b64decode(document.pop("sealed"), validate=True)
        if document["format"] != _KEY_FORMAT or not isinstance(document["generation"], int):
            raise ValueError("format")
        bytes.fromhex(document["nonce"] + document["public"] + path.stem)
        return document, sealed
    except (ValueError, KeyError, TypeError, AttributeError):
        raise refused_key(path, "is no key of a vault, or it is damaged; restore it from a backup") from None


def _bound(head: dict[str, Any]) -> bytes:
    return _AAD + json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
