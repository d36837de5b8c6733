"""Private keys as documents in plain files, closed to other users; and making new keys.

Owns the document and its checks: it says what the key is for, and is refused for anything else. Programs get their keys
through ``KeyFiles`` (``pipeline/adapters/key_files.py``), which seals these documents. Secrets leave this module only
inside signers and sealing keys, whose ``repr`` does not show them.
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
MAX_KEY_FILE_BYTES = 16 * 1024
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


def new_sealing_key(
    algorithm: Algorithm, random_bytes: RandomBytes = token_bytes, *, use: Use = Use.PLATFORM
) -> SealingKey:
    """Return a fresh sealing key, by default the platform's: 32 secret bytes, or ML-KEM seed (64) then X25519 (32).

    Raises:
        ValueError: the algorithm does not seal.
    """
    if algorithm not in PRIVATE_BYTES:
        raise ValueError(f"{algorithm.name} is no sealing algorithm")
    key = SealingKey(algorithm, random_bytes(PRIVATE_BYTES[algorithm]), use)
    while not _is_usable(key):
        key = SealingKey(algorithm, random_bytes(PRIVATE_BYTES[algorithm]), use)
    return key


def public_fields(key: PrivateKey) -> dict[str, str]:
    """Return what may be told of a key: use, algorithm and public key in hexadecimal."""
    public = key.public
    return {
        "use": public.use.name.lower(),
        "algorithm": public.algorithm.name.lower(),
        "public": public.raw.hex(),
    }


def secret_bytes(key: PrivateKey) -> bytes:
    """Return a key's secret, to be sealed."""
    return key.seed if isinstance(key, Ed25519Signer | MlDsa44Signer) else key.secret


def key_document(key: PrivateKey) -> bytes:
    """Return a key as its plain document, secret included."""
    document = {"format": _FORMAT, **public_fields(key), "secret": secret_bytes(key).hex()}
    return (json.dumps(document, indent=1) + "\n").encode()


def save_key(path: Path, key: PrivateKey) -> None:
    """Write a key in clear to a new file of mode 0600.

    Raises:
        ConfigError: the file exists or can't be written.
    """
    create_private(path, key_document(key))


def load_signer(path: Path, use: Use) -> SigningKey:
    """Return the signing key in a file.

    Raises:
        ConfigError: the file is missing, open to others, damaged, or its key is for another use.
    """
    return as_signer(_load(path, use), path)


def as_signer(key: PrivateKey, path: Path) -> SigningKey:
    """Return a key from ``path`` if it signs.

    Raises:
        ConfigError: it is a sealing key.
    """
    if isinstance(key, SealingKey):
        raise refused_key(path, "holds a sealing key where a signing key is needed")
    return key


def load_or_make_signer(path: Path, use: Use, algorithm: Algorithm = Algorithm.ED25519) -> SigningKey:
    """Return the signing key in a file, or make one and keep it there.

    Raises:
        ConfigError: as for ``load_signer``, or the file's key is of another algorithm.
    """
    if not path.exists():
        save_key(path, new_signing_key(use, algorithm))
    return of_algorithm(load_signer(path, use), algorithm, path)


def of_algorithm(key: SigningKey, algorithm: Algorithm, path: Path) -> SigningKey:
    """Return a key from ``path`` if it is of this algorithm.

    Raises:
        ConfigError: it is of another.
    """
    if key.public.algorithm is not algorithm:
        raise refused_key(
            path, f"is no {algorithm.name.lower()} key; name another file, or choose another suite"
        )
    return key


def load_sealing_key(path: Path) -> SealingKey:
    """Return the platform's sealing key in a file.

    Raises:
        ConfigError: the file is missing, open to others, damaged, or its key is for another use.
    """
    return as_sealing_key(_load(path, Use.PLATFORM), path)


def as_sealing_key(key: PrivateKey, path: Path) -> SealingKey:
    """Return a key from ``path`` if it is the platform's.

    Raises:
        ConfigError: it is a signing key.
    """
    if not isinstance(key, SealingKey):
        raise refused_key(path, "holds a signing key where a sealing key is needed")
    return key


class SealingKeyFolder:
    """The platform's sealing keys in plain files, one file each, named by the key's fingerprint."""

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
            raise refused_key(path, "holds another key than its name says")
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


def _load(path: Path, use: Use) -> PrivateKey:
    return parse_key(read_private(path, MAX_KEY_FILE_BYTES), path, use)


def parse_key(content: bytes, path: Path, use: Use | None) -> PrivateKey:
    """Return the key of a plain document that was found in ``path``; ``use`` None takes a key for any use.

    Raises:
        ConfigError: it is damaged, or its key is for another use.
    """
    try:
        document = json.loads(content)
        key, stored = _parse(document)
        derived = key.public
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # The parser's own message could quote the secret.
        raise refused_key(path, "is no key file, or it is damaged; restore it from a backup") from None
    if derived != stored:
        raise refused_key(path, "is damaged: its secret and public halves do not belong together")
    if use is not None and derived.use is not use:
        held = derived.use.name.lower()
        raise refused_key(path, f"holds a {held} key where a {use.name.lower()} key is needed")
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


def is_plain_key(content: bytes) -> bool:
    """Whether a file's content says that it is a plain key document."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("format") == _FORMAT


def plain_fields(content: bytes) -> dict[str, str]:
    """Return what a plain key document tells of its key besides the secret; nothing for other content."""
    if not is_plain_key(content):
        return {}
    document = json.loads(content)
    return {name: str(document.get(name, "")) for name in ("use", "algorithm", "public")}


def refused_key(path: Path, problem: str) -> ConfigError:
    """Return the error of a key file that can't be used, and why."""
    return ConfigError(f"key file {path} {problem}", code="config.key_file")
