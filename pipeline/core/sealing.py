"""Sealing to readers: HPKE (RFC 9180) with classical and hybrid keys, and the content cipher."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from pipeline.core.keys import Algorithm, PublicKey, Use

CONTENT_KEY_BYTES = 32
_NONCE = bytes(12)  # A content key is used once, so its nonce may be constant.
_MLKEM_SEED_BYTES = 64
_MLKEM_PUBLIC_BYTES = 1184


class Suite(IntEnum):
    """Cipher suite of a packet."""

    XWING = 1
    LIGHT = 2
    P256 = 3


SEALING_ALGORITHM = {
    Suite.XWING: Algorithm.XWING,
    Suite.LIGHT: Algorithm.X25519,
    Suite.P256: Algorithm.ECDH_P256,
}
SIGNING_ALGORITHM = {
    Suite.XWING: Algorithm.ED25519,
    Suite.LIGHT: Algorithm.ED25519,
    Suite.P256: Algorithm.ECDSA_P256,
}
_HPKE = {
    Algorithm.XWING: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    Algorithm.X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305),
    Algorithm.ECDH_P256: hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}
PRIVATE_BYTES = {Algorithm.XWING: 96, Algorithm.X25519: 32, Algorithm.ECDH_P256: 32}

PrivateHalf = x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey | hpke.MLKEM768X25519PrivateKey
PublicHalf = x25519.X25519PublicKey | ec.EllipticCurvePublicKey | hpke.MLKEM768X25519PublicKey


def sealing_algorithms(suites: Iterable[Suite]) -> tuple[Algorithm, ...]:
    """Return the kinds of keys that these suites seal to, each once, in the suites' order."""
    return tuple(dict.fromkeys(SEALING_ALGORITHM[suite] for suite in suites))


@dataclass(frozen=True, slots=True, repr=False)
class SealingKey:
    """Private sealing key: 32 bytes, or ML-KEM seed (64) then X25519 (32) for the hybrid."""

    algorithm: Algorithm
    secret: bytes
    use: Use = Use.PLATFORM

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self.use, self.algorithm, _public_raw(self.algorithm, self.secret))


@lru_cache(maxsize=1024)
def _private(algorithm: Algorithm, secret: bytes) -> PrivateHalf:
    if len(secret) != PRIVATE_BYTES[algorithm]:
        raise ValueError(f"a private {algorithm.name} key has {PRIVATE_BYTES[algorithm]} bytes")
    if algorithm is Algorithm.X25519:
        return x25519.X25519PrivateKey.from_private_bytes(secret)
    if algorithm is Algorithm.ECDH_P256:
        return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    return hpke.MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(secret[:_MLKEM_SEED_BYTES]),
        x25519.X25519PrivateKey.from_private_bytes(secret[_MLKEM_SEED_BYTES:]),
    )


@lru_cache(maxsize=1024)
def _public_raw(algorithm: Algorithm, secret: bytes) -> bytes:
    private = _private(algorithm, secret)
    if isinstance(private, x25519.X25519PrivateKey):
        return private.public_key().public_bytes_raw()
    if isinstance(private, ec.EllipticCurvePrivateKey):
        compressed = serialization.PublicFormat.CompressedPoint
        return private.public_key().public_bytes(serialization.Encoding.X962, compressed)
    kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(secret[:_MLKEM_SEED_BYTES])
    curve = x25519.X25519PrivateKey.from_private_bytes(secret[_MLKEM_SEED_BYTES:])
    return kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


@lru_cache(maxsize=4096)
def _public(algorithm: Algorithm, raw: bytes) -> PublicHalf:
    if algorithm is Algorithm.X25519:
        return x25519.X25519PublicKey.from_public_bytes(raw)
    if algorithm is Algorithm.ECDH_P256:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    return hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
        x25519.X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
    )


def seal_key(reader: PublicKey, content_key: bytes, info: bytes) -> bytes:
    """Return the HPKE single-shot sealing of ``content_key`` (32 bytes) to ``reader``."""
    return _HPKE[reader.algorithm].encrypt(content_key, _public(reader.algorithm, reader.raw), info)


def unseal_key(key: SealingKey, sealed: bytes, info: bytes) -> bytes | None:
    """Return the content key sealed to ``key``, or None where it does not open."""
    try:
        content_key = _HPKE[key.algorithm].decrypt(sealed, _private(key.algorithm, key.secret), info)
    except (InvalidTag, ValueError):
        return None
    return content_key if len(content_key) == CONTENT_KEY_BYTES else None


def _cipher(suite: Suite, content_key: bytes) -> AESGCM | ChaCha20Poly1305:
    return ChaCha20Poly1305(content_key) if suite is Suite.LIGHT else AESGCM(content_key)


def encrypt_content(suite: Suite, content_key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Return ciphertext and tag of ``plaintext``; a content key must encrypt only once."""
    return _cipher(suite, content_key).encrypt(_NONCE, plaintext, aad)


def decrypt_content(suite: Suite, content_key: bytes, ciphertext: bytes, aad: bytes) -> bytes | None:
    """Return the plaintext, or None where the tag or the associated data do not fit."""
    try:
        return _cipher(suite, content_key).decrypt(_NONCE, ciphertext, aad)
    except (InvalidTag, ValueError):
        return None
