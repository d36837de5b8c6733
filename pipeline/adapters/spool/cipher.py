"""Encryption of the spool at rest: AES-256-GCM under a key that is not in the spool.

Owns the key file and the form of an encrypted cell. A cell is bound to its row and site, so that
cells can't be moved, and a lost or copied disk without the key tells nothing but sizes and times of writing.
"""

import hmac
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.adapters.key_files import KeyFiles
from pipeline.core.errors import ConfigError, IntegrityError

KEY_BYTES = 32
_USE = "spool"
_NONCE_BYTES = 12
_GROUP_BITS = 20
_GROUP_PREFIX = b"bkdms/spool-key/v1\x00"
_CELL_PREFIX = b"bkdms/spool-cell/v1\x00"


class SpoolCipher:
    """Encrypts cells for one site; ``random`` gives that many fresh random bytes.

    A key derived for each 2^20 rows keeps random nonces far from their collision bound.
    """

    def __init__(self, key: bytes, binding: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        if len(key) != KEY_BYTES:
            raise ConfigError(f"a spool key has {KEY_BYTES} bytes", code="spool_key")
        self._key = key
        self._binding = binding
        self._random = random
        self._group = lru_cache(maxsize=8)(self._derive)

    def _derive(self, group: int) -> AESGCM:
        return AESGCM(hmac.digest(self._key, _GROUP_PREFIX + group.to_bytes(8, "big"), "sha256"))

    def seal(self, kind: bytes, row: int, plain: bytes) -> bytes:
        """Return nonce and ciphertext of a cell of table ``kind`` in row ``row``."""
        return self.seal_rows(kind, row, [plain])[0]

    def seal_rows(self, kind: bytes, first: int, plains: Sequence[bytes]) -> list[bytes]:
        """Return the cells of table ``kind`` in row ``first`` and those after it."""
        nonces, cells = self._random(_NONCE_BYTES * len(plains)), []
        before, after = _CELL_PREFIX + kind + b"\x00", self._binding
        for row, plain in enumerate(plains, first):
            start = (row - first) * _NONCE_BYTES
            nonce = nonces[start : start + _NONCE_BYTES]
            sealed = self._group(row >> _GROUP_BITS).encrypt(
                nonce, plain, before + row.to_bytes(8, "big") + after
            )
            cells.append(nonce + sealed)
        return cells

    def open(self, kind: bytes, row: int, cell: bytes) -> bytes:
        """Return the plain bytes of a cell.

        Raises:
            IntegrityError: code ``spool_cell``: other key, other row, or changed bytes.
        """
        nonce, ciphertext = cell[:_NONCE_BYTES], cell[_NONCE_BYTES:]
        try:
            return self._group(row >> _GROUP_BITS).decrypt(nonce, ciphertext, self._bound(kind, row))
        except (InvalidTag, ValueError):
            raise IntegrityError(
                f"row {row} of the spool's {kind.decode()} does not decrypt: wrong key or changed file",
                code="spool_cell",
            ) from None

    def _bound(self, kind: bytes, row: int) -> bytes:
        return _CELL_PREFIX + kind + b"\x00" + row.to_bytes(8, "big") + self._binding


def load_spool_key(path: Path, spool: Path, files: KeyFiles) -> bytes:
    """Return the 32-byte key in ``path``; make it, sealed (mode 0600), for a spool that does not exist yet.

    Raises:
        ConfigError: the key is missing for an existing spool, lies in the spool's folder, others may
            read it, or it has another size.
    """
    if path.resolve().parent == spool.resolve().parent:
        raise ConfigError(
            f"spool key {path} lies beside the spool; keep it in another folder, so that a copy of the "
            "spool does not carry its key",
            code="spool_key",
        )
    if not path.exists():
        if spool.exists():
            raise ConfigError(
                f"spool key {path} is missing; put it back, without it the records in {spool} are unreadable",
                code="spool_key",
            )
        files.save_secret(path, os.urandom(KEY_BYTES), _USE)
    key = files.secret(path, _USE)
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"spool key {path} has {len(key)} bytes instead of {KEY_BYTES}; put the right file back",
            code="spool_key",
        )
    return key
