"""Seals the files of a backup under a key of its own, which is sealed under a passphrase.

A file is sealed in pieces, each with its number, the last one marked, so that none can be left out, moved or added.
"""

import hmac
import json
from collections.abc import Callable, Iterator
from secrets import token_bytes
from typing import Any, BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.adapters.sealed_file import Sealer
from pipeline.core.errors import ConfigError

PIECE_BYTES: Final = 1 << 20
_MAGIC: Final = b"bkdms-backup-file/v1\n"
_FILE_PREFIX: Final = b"bkdms/backup-file/v1\x00"
_LIST_PREFIX: Final = b"bkdms/backup-list/v1\x00"
_USE: Final = "backup"
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 16


class BackupKey:
    """The key of one backup."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def new(cls) -> "BackupKey":
        """Return a fresh key."""
        return cls(token_bytes(_KEY_BYTES))

    @classmethod
    def opened(cls, sealed: dict[str, Any], sealer: Sealer, where: str) -> "BackupKey":
        """Return the key out of a backup's list.

        Raises:
            ConfigError: the passphrase is another one, or the list was changed.
        """
        about, key = sealer.open(json.dumps(sealed).encode(), where)
        if about != {"use": _USE} or len(key) != _KEY_BYTES:
            raise ConfigError(f"{where} holds no key of a backup", code="config.sealed_file")
        return cls(key)

    def sealed(self, sealer: Sealer) -> dict[str, Any]:
        """Return the key sealed, for the backup's list."""
        found: dict[str, Any] = json.loads(sealer.seal(self._key, {"use": _USE}))
        return found

    def mac(self, content: bytes) -> bytes:
        """Return the code that authenticates a backup's list (32 bytes)."""
        return hmac.digest(self._key, _LIST_PREFIX + content, "sha256")

    def seal(self, name: str, source: BinaryIO, target: BinaryIO) -> None:
        """Write a file sealed under its name."""
        cipher = self._cipher(name)
        target.write(_MAGIC)
        for number, piece, is_last in _pieces(source, PIECE_BYTES):
            target.write(cipher.encrypt(_nonce(number, is_last), piece, None))

    def open(self, name: str, source: BinaryIO, write: Callable[[bytes], object]) -> None:
        """Give the content of a file that was sealed under this name to ``write``, piece by piece.

        Raises:
            ConfigError: it was changed, cut, or is another file (``config.backup``); what was written is worthless.
        """
        cipher = self._cipher(name)
        try:
            if source.read(len(_MAGIC)) != _MAGIC:
                raise ValueError("magic")
            for number, piece, is_last in _pieces(source, PIECE_BYTES + _TAG_BYTES):
                write(cipher.decrypt(_nonce(number, is_last), piece, None))
        except (InvalidTag, ValueError):
            raise ConfigError(
                f"{name} in the backup does not open: it was changed, or is another file",
                code="config.backup",
            ) from None

    def _cipher(self, name: str) -> AESGCM:
        return AESGCM(hmac.digest(self._key, _FILE_PREFIX + name.encode(), "sha256"))


def _pieces(source: BinaryIO, size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield number, bytes and whether it is the last for each piece; an empty file is one empty piece."""
    number, piece = 0, source.read(size)
    while True:
        following = source.read(size)
        yield number, piece, not following
        if not following:
            return
        number, piece = number + 1, following


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(8, "big") + int(is_last).to_bytes(4, "big")
