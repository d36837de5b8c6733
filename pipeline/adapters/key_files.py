"""Keys at rest: sealed files, and secrets mounted by the system; plain files are read only by an insecure setting."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipeline.adapters.keystore import (
    MAX_KEY_FILE_BYTES,
    PrivateKey,
    SigningKey,
    as_signer,
    is_plain_key,
    key_document,
    new_signing_key,
    of_algorithm,
    parse_key,
    public_fields,
    refused_key,
)
from pipeline.adapters.private_files import create_private, read_private, replace_private_and_blank
from pipeline.adapters.sealed_file import Sealer, is_sealed
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, Use

PLAIN_REMEDY: Final = "`bkdms keys seal` seals the plain files that the settings name (see its --authority)"


class KeyFiles:
    """The provider of keys in files (``pipeline.ports.KeyProvider``).

    A file below ``mounted`` is a secret that the system put there (a plain document, read only). Any other is sealed
    under the sealer's passphrase. With ``plain`` plain files are read, too, and it hears of each; none is ever written.
    """

    def __init__(
        self, sealer: Sealer, *, mounted: Path | None = None, plain: Callable[[Path], None] | None = None
    ) -> None:
        self.sealer = sealer
        self._mounted = mounted
        self._plain = plain

    def signer(self, path: Path, use: Use) -> SigningKey:
        """Return the signing key in a file.

        Raises:
            ConfigError: the file is missing, open to others, damaged, plain where that is not allowed
                (``config.plain_key``), sealed under another passphrase, or its key is for another use.
        """
        return as_signer(self._load(path, use), path)

    def signer_or_new(self, path: Path, use: Use, algorithm: Algorithm = Algorithm.ED25519) -> SigningKey:
        """Return the signing key in a file, or make one and keep it there.

        Raises:
            ConfigError: as for ``signer`` and ``save``, or the file's key is of another algorithm.
        """
        if not path.exists():
            self.save(path, new_signing_key(use, algorithm))
        return of_algorithm(self.signer(path, use), algorithm, path)

    def save(self, path: Path, key: PrivateKey) -> None:
        """Write a key to a new file of mode 0600, sealed.

        Raises:
            ConfigError: the file exists, can't be written, or is below the mounted secrets.
        """
        self._refuse_mounted(path)
        create_private(path, self.sealer.seal(key_document(key), public_fields(key)))

    def secret(self, path: Path, use: str) -> bytes:
        """Return the raw secret in a file that was sealed for this use.

        Raises:
            ConfigError: as for ``signer``.
        """
        content = read_private(path, MAX_KEY_FILE_BYTES)
        if self._is_mounted(path):
            return content
        if not is_sealed(content):
            self._refuse_plain(path)
            return content
        about, secret = self.sealer.open(content, f"key file {path}")
        if about != {"use": use}:
            raise refused_key(path, f"is no {use} key")
        return secret

    def save_secret(self, path: Path, secret: bytes, use: str) -> None:
        """Write a raw secret to a new file of mode 0600, sealed.

        Raises:
            ConfigError: as for ``save``.
        """
        self._refuse_mounted(path)
        create_private(path, self.sealer.seal(secret, {"use": use}))

    def seal_secret(self, path: Path, use: str) -> bool:
        """Seal a raw secret in its place; False for one that is sealed already, or below the mounted secrets.

        Raises:
            ConfigError: it can't be read or written.
        """
        content = read_private(path, MAX_KEY_FILE_BYTES)
        if is_sealed(content) or self._is_mounted(path):
            return False
        replace_private_and_blank(path, self.sealer.seal(content, {"use": use}))
        return True

    def seal(self, path: Path) -> bool:
        """Seal a plain key file in its place; False for one that is sealed already, or below the mounted secrets.

        Raises:
            ConfigError: it is neither, or can't be read or written.
        """
        content = read_private(path, MAX_KEY_FILE_BYTES)
        if is_sealed(content) or self._is_mounted(path):
            return False
        key = parse_key(content, path, None)
        replace_private_and_blank(path, self.sealer.seal(key_document(key), public_fields(key)))
        return True

    def document(self, path: Path) -> bytes:
        """Return the plain document in a key file, to hand it to who mounts it elsewhere.

        Raises:
            ConfigError: as for ``signer``.
        """
        content = read_private(path, MAX_KEY_FILE_BYTES)
        if is_sealed(content) and not self._is_mounted(path):
            return self.sealer.open(content, f"key file {path}")[1]
        if is_plain_key(content) and not self._is_mounted(path):
            self._refuse_plain(path)
        return content

    def _load(self, path: Path, use: Use) -> PrivateKey:
        return parse_key(self.document(path), path, use)

    def _refuse_plain(self, path: Path) -> None:
        if self._plain is None:
            raise ConfigError(
                f"key file {path} is not sealed: {PLAIN_REMEDY}; for tests alone there is "
                "keys.insecure_plain_files",
                code="config.plain_key",
            )
        self._plain(path)

    def _refuse_mounted(self, path: Path) -> None:
        if self._is_mounted(path):
            raise refused_key(path, "is to be made where secrets are mounted; make it elsewhere and mount it")

    def _is_mounted(self, path: Path) -> bool:
        # Mounted secrets are often links into a folder that is swapped as a whole: the place counts, not its target.
        return self._mounted is not None and _placed(path).is_relative_to(_placed(self._mounted))


def _placed(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))
