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
from pipeline.adapters.private_files import create_private, read_private, replace_private
from pipeline.adapters.sealed_file import Sealer, is_sealed
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, Use

PLAIN_REMEDY: Final = "`bkdms keys seal` seals the plain files that the settings name"


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
        if self._is_mounted(path):
            raise refused_key(path, "is to be made where secrets are mounted; make it elsewhere and mount it")
        create_private(path, self.sealer.seal(key_document(key), public_fields(key)))

    def seal(self, path: Path) -> bool:
        """Seal a plain key file in its place; False for one that is sealed already.

        Raises:
            ConfigError: it is neither, or can't be read or written.
        """
        content = read_private(path, MAX_KEY_FILE_BYTES)
        if is_sealed(content):
            return False
        key = parse_key(content, path, None)
        replace_private(path, self.sealer.seal(key_document(key), public_fields(key)))
        return True

    def document(self, path: Path) -> bytes:
        """Return the plain document in a key file, to hand it to who mounts it elsewhere.

        Raises:
            ConfigError: as for ``signer``.
        """
        content = read_private(path, MAX_KEY_FILE_BYTES)
        if is_sealed(content) and not self._is_mounted(path):
            return self.sealer.open(content, f"key file {path}")[1]
        self._refuse_plain(path, content)
        return content

    def _load(self, path: Path, use: Use) -> PrivateKey:
        return parse_key(self.document(path), path, use)

    def _refuse_plain(self, path: Path, content: bytes) -> None:
        if self._is_mounted(path) or not is_plain_key(content):
            return
        if self._plain is None:
            raise ConfigError(
                f"key file {path} is not sealed: {PLAIN_REMEDY}; for tests alone there is "
                "keys.insecure_plain_files",
                code="config.plain_key",
            )
        self._plain(path)

    def _is_mounted(self, path: Path) -> bool:
        # Mounted secrets are often links into a folder that is swapped as a whole: the place counts, not its target.
        return self._mounted is not None and _placed(path).is_relative_to(_placed(self._mounted))


def _placed(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))
