"""Private keys in files, one key a file, closed to other users; and making new keys.

Owns the file format and its checks. A key file says what the key is for; it is refused for anything else.
Secrets leave this module only inside signers and sealing keys, whose ``repr`` does not show them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from secrets import token_bytes
from typing import Any

from pipeline.adapters.private_files import create_private, read_private
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, PublicKey, Use
from pipeline.core.sealing import PRIVATE_BYTES, SealingKey
from pipeline.core.signing import Ed25519Signer, MlDsa44Signer, P256Signer

SigningKey = Ed25519Signer | MlDsa44Signer | P256Signer
PrivateKey = SigningKey | SealingKey
RandomBytes = Callable[[int], bytes]

_FORMAT = "bkdms-key/v1"
_MAX_FILE_BYTES = 16 * 1024
_SIGNING_SECRET_BYTES = 32


def new_signing_key(
    use: Use, algorithm: Algorithm = Algorithm.ED25519, random_bytes: RandomBytes = token_bytes
) -> SigningKey:
    """Return a fresh signing key of 32 secret bytes.

    Raises:
        ValueError: the algorithm does not sign.
    """
    key = _signer(use, algorithm, random_bytes(_SIGNING_SECRET_BYTES))
    while not _is_usable(key):  # about one P-256 draw in 2**32 is not below the group's order
        key = _signer(use, algorithm, random_bytes(_SIGNING_SECRET_BYTES))
    return key


def new_sealing_key(algorithm: Algorithm, random_bytes: RandomBytes = token_bytes) -> SealingKey:
    """Return a fresh sealing key of the platform: 32 secret bytes, or ML-KEM seed (64) then X25519 (32).

    Raises:
        ValueError: the algorithm does not seal.
    """
    if algorithm not in PRIVATE_BYTES:
        raise ValueError(f"{algorithm.name} is no sealing algorithm")
    key = SealingKey(algorithm, random_bytes(PRIVATE_BYTES[algorithm]))
    while not _is_usable(key):
        key = SealingKey(algorithm, random_bytes(PRIVATE_BYTES[algorithm]))
    return key


def save_key(path: Path, key: PrivateKey) -> None:
    """Write a key to a new file of mode 0600.

    Raises:
        ConfigError: the file exists or can't be written.
    """
    public = key.public
    document = {
        "format": _FORMAT,
        "use": public.use.name.lower(),
        "algorithm": public.algorithm.name.lower(),
        "public": public.raw.hex(),
        "secret": _secret(key).hex(),
    }
    create_private(path, (json.dumps(document, indent=1) + "\n").encode())


def load_signer(path: Path, use: Use) -> SigningKey:
    """Return the signing key in a file.

    Raises:
        ConfigError: the file is missing, open to others, damaged, or its key is for another use.
    """
    key = _load(path, use)
    if isinstance(key, SealingKey):
        raise _refused(path, "holds a sealing key where a signing key is needed")
    return key


def load_or_make_signer(path: Path, use: Use, algorithm: Algorithm = Algorithm.ED25519) -> SigningKey:
    """Return the signing key in a file, or make one and keep it there.

    Raises:
        ConfigError: as for ``load_signer``, or the file's key is of another algorithm.
    """
    if not path.exists():
        save_key(path, new_signing_key(use, algorithm))
    key = load_signer(path, use)
    if key.public.algorithm is not algorithm:
        raise _refused(
            path, f"is no {algorithm.name.lower()} key; name another file, or choose another suite"
        )
    return key


def load_sealing_key(path: Path) -> SealingKey:
    """Return the platform's sealing key in a file.

    Raises:
        ConfigError: the file is missing, open to others, damaged, or its key is for another use.
    """
    key = _load(path, Use.PLATFORM)
    if not isinstance(key, SealingKey):
        raise _refused(path, "holds a signing key where a sealing key is needed")
    return key


class SealingKeyFolder:
    """The platform's sealing keys, one file each, named by the key's fingerprint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, key: SealingKey) -> None:
        """Keep a key durably; one that is there already stays.

        Raises:
            ConfigError: the folder can't be written to.
        """
        if self.get(key.public.fingerprint) is None:
            save_key(self._path(key.public.fingerprint), key)

    def get(self, fingerprint: bytes) -> SealingKey | None:
        """Return the key with this fingerprint (32 bytes), or None where we have not got it.

        Raises:
            ConfigError: its file is open to others or damaged.
        """
        path = self._path(fingerprint)
        if not path.exists():
            return None
        key = load_sealing_key(path)
        if key.public.fingerprint != fingerprint:
            raise _refused(path, "holds another key than its name says")
        return key

    def _path(self, fingerprint: bytes) -> Path:
        return self._folder / f"{fingerprint.hex()}.json"


def _signer(use: Use, algorithm: Algorithm, secret: bytes) -> SigningKey:
    if algorithm is Algorithm.ED25519:
        return Ed25519Signer(secret, use)
    if algorithm is Algorithm.ECDSA_P256:
        return P256Signer(secret, use)
    if algorithm is Algorithm.MLDSA44:
        return MlDsa44Signer(secret, use)
    raise ValueError(f"{algorithm.name} is no signing algorithm")


def _is_usable(key: PrivateKey) -> bool:
    try:
        return bool(key.public)
    except ValueError:
        return False


def _secret(key: PrivateKey) -> bytes:
    return key.seed if isinstance(key, Ed25519Signer | MlDsa44Signer) else key.secret


def _load(path: Path, use: Use) -> PrivateKey:
    try:
        document = json.loads(read_private(path, _MAX_FILE_BYTES))
        key, stored = _parse(document)
        derived = key.public
    except (ValueError, KeyError, TypeError, AttributeError):
        # The parser's own message could quote the secret.
        raise _refused(path, "is no key file, or it is damaged; restore it from a backup") from None
    if derived != stored:
        raise _refused(path, "is damaged: its secret and public halves do not belong together")
    if derived.use is not use:
        held = derived.use.name.lower()
        raise _refused(path, f"holds a {held} key where a {use.name.lower()} key is needed")
    return key


def _parse(document: dict[str, Any]) -> tuple[PrivateKey, PublicKey]:
    if document["format"] != _FORMAT:
        raise ValueError("format")
    use, algorithm = Use[document["use"].upper()], Algorithm[document["algorithm"].upper()]
    secret = bytes.fromhex(document["secret"])
    stored = PublicKey(use, algorithm, bytes.fromhex(document["public"]))
    if algorithm in PRIVATE_BYTES:
        return SealingKey(algorithm, secret, use), stored
    if len(secret) != _SIGNING_SECRET_BYTES:
        raise ValueError("length")
    return _signer(use, algorithm, secret), stored


def _refused(path: Path, problem: str) -> ConfigError:
    return ConfigError(f"key file {path} {problem}", code="config.key_file")
