"""Small secrets sealed under a passphrase: scrypt (RFC 7914), then AES-256-GCM with everything readable bound to it.

Owns the bytes of ``bkdms-sealed/v1``. Parameters and the description stand in clear and are authenticated.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.adapters.passphrase import Passphrase
from pipeline.core.errors import ConfigError

SEALED_FORMAT: Final = "bkdms-sealed/v1"
_AAD: Final = b"bkdms/sealed/v1\x00"
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_R: Final = 8
_LARGEST_LOG2_N: Final = 20
_LARGEST_P: Final = 16
# Work stays as for n = 2^17 while memory (128 r n bytes) shrinks, as small machines need it.
_P_OF_LOG2_N: Final = {16: 2, 15: 3, 14: 5}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess costs: memory of 2^(log2_n + 10) bytes, p times.

    Raises:
        ValueError: more than a file may ask for (1 GiB, 16 times).
    """

    log2_n: int = 17
    p: int = 1

    def __post_init__(self) -> None:
        if not (1 <= self.log2_n <= _LARGEST_LOG2_N and 1 <= self.p <= _LARGEST_P):
            raise ValueError("cost")

    @classmethod
    def of(cls, log2_n: int) -> "Cost":
        """Return the usual cost for this much memory."""
        return cls(log2_n, _P_OF_LOG2_N.get(log2_n, 1))


class Sealer:
    """Seals and opens under one passphrase. A derived key is kept for the life of the process and used again."""

    def __init__(
        self,
        passphrase: Passphrase,
        cost: Cost | None = None,
        random_bytes: Callable[[int], bytes] = token_bytes,
    ) -> None:
        self.passphrase = passphrase
        self._cost = cost or Cost()
        self._random = random_bytes
        self._derived: dict[tuple[bytes, Cost], AESGCM] = {}

    def __repr__(self) -> str:
        return f"Sealer({self.passphrase.file})"

    def seal(self, plain: bytes, about: Mapping[str, Any]) -> bytes:
        """Return a file's content that holds ``plain`` sealed and ``about`` (JSON values) readable.

        Raises:
            ConfigError: the passphrase can't be had.
        """
        passphrase = self.passphrase.get_or_make()
        salt = next((known for known, cost in self._derived if cost == self._cost), None)
        salt = salt or self._random(_SALT_BYTES)
        head = {
            "format": SEALED_FORMAT,
            "about": dict(about),
            "kdf": {
                "name": "scrypt",
                "log2_n": self._cost.log2_n,
                "r": _R,
                "p": self._cost.p,
                "salt": salt.hex(),
            },
            "nonce": self._random(_NONCE_BYTES).hex(),
        }
        sealed = self._cipher(passphrase, salt, self._cost).encrypt(
            bytes.fromhex(str(head["nonce"])), plain, _bound(head)
        )
        return (json.dumps({**head, "sealed": base64.b64encode(sealed).decode()}, indent=1) + "\n").encode()

    def open(self, content: bytes, where: str) -> tuple[dict[str, Any], bytes]:
        """Return description and plain bytes of a sealed file; ``where`` names it in messages.

        Raises:
            ConfigError: it is no such file, the passphrase is another one or the file was changed
                (``config.sealed_file``), or the passphrase can't be had (``config.passphrase``).
        """
        try:
            document: dict[str, Any] = json.loads(content)
            sealed = base64.b64decode(document.pop("sealed"), validate=True)
            kdf = document["kdf"]
            cost, salt = Cost(int(kdf["log2_n"]), int(kdf["p"])), bytes.fromhex(kdf["salt"])
            nonce, about = bytes.fromhex(document["nonce"]), dict(document["about"])
            if (document["format"], kdf["name"], kdf["r"]) != (SEALED_FORMAT, "scrypt", _R):
                raise ValueError("format")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ConfigError(
                f"{where} is no sealed file, or it is damaged; restore it from a backup",
                code="config.sealed_file",
            ) from None
        try:
            plain = self._cipher(self.passphrase.get(), salt, cost).decrypt(nonce, sealed, _bound(document))
        except (InvalidTag, ValueError):
            raise ConfigError(
                f"{where} does not open: the passphrase in {self.passphrase.file} is another one, or the file was "
                "changed; name the right one by keys.passphrase_file",
                code="config.sealed_file",
            ) from None
        return about, plain

    def _cipher(self, passphrase: bytes, salt: bytes, cost: Cost) -> AESGCM:
        known = self._derived.get((salt, cost))
        if known is None:
            n = 1 << cost.log2_n
            # Beside the 128 r n bytes OpenSSL counts small change.
            room = 128 * _R * (n + cost.p + 2) + (1 << 20)
            key = hashlib.scrypt(passphrase, salt=salt, n=n, r=_R, p=cost.p, maxmem=room, dklen=_KEY_BYTES)
            known = self._derived[salt, cost] = AESGCM(key)
        return known


def is_sealed(content: bytes) -> bool:
    """Whether a file's content says that it is sealed."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("format") == SEALED_FORMAT


def about_sealed(content: bytes) -> dict[str, Any]:
    """Return what a sealed file says of itself in clear, unverified until it is opened; nothing for other content."""
    try:
        return dict(json.loads(content)["about"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def cost_of(content: bytes) -> Cost:
    """Return at which cost a sealed file was made, so that it may be sealed anew for the same machine."""
    kdf = json.loads(content)["kdf"]
    return Cost(int(kdf["log2_n"]), int(kdf["p"]))


def _bound(head: Mapping[str, Any]) -> bytes:
    return _AAD + json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
