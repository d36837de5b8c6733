"""Signatures of sites and authorities: one accepted signature form per algorithm.

ECDSA signatures are raw r || s with low s, because (r, n - s) would verify as well.
Ed25519 signatures with an R of small order are refused, because libraries disagree on them.
Every signature that is not a C2SP one has a prefix of its own.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, utils

from pipeline.core.keys import Algorithm, PublicKey, Use, is_small_order_point

PACKET_PREFIX = b"bkdms/packet/v1\x00"
CONTROL_PREFIX = b"bkdms/control/v1\x00"
POSSESSION_PREFIX = b"bkdms/possession/v1\x00"
SIGNATURE_BYTES = 64
MLDSA44_SIGNATURE_BYTES = 2420
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CACHED_KEYS = 65_536


class Signer(Protocol):
    """Holder of a private signing key."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature over ``message``: 64 bytes, 2,420 of an ML-DSA-44 key."""


@dataclass(frozen=True, slots=True, repr=False)
class Ed25519Signer:
    """Signer over a 32-byte Ed25519 seed."""

    seed: bytes
    use: Use

    @property
    def public(self) -> PublicKey:
        """The public half."""
        raw = _ed25519_private(self.seed).public_key().public_bytes_raw()
        return PublicKey(self.use, Algorithm.ED25519, raw)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature over ``message``."""
        return _ed25519_private(self.seed).sign(message)


@dataclass(frozen=True, slots=True, repr=False)
class P256Signer:
    """Signer over a 32-byte P-256 private value; signs deterministically (RFC 6979)."""

    secret: bytes
    use: Use

    @property
    def public(self) -> PublicKey:
        """The public half."""
        point = (
            _p256_private(self.secret)
            .public_key()
            .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
        )
        return PublicKey(self.use, Algorithm.ECDSA_P256, point)

    def sign(self, message: bytes) -> bytes:
        """Return r || s with low s over ``message``."""
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = utils.decode_dss_signature(_p256_private(self.secret).sign(message, algorithm))
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


@dataclass(frozen=True, slots=True, repr=False)
class MlDsa44Signer:
    """Signer over a 32-byte ML-DSA-44 seed (FIPS 204); signatures are randomised, so two never agree."""

    seed: bytes
    use: Use

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(
            self.use, Algorithm.MLDSA44, _mldsa44_private(self.seed).public_key().public_bytes_raw()
        )

    def sign(self, message: bytes) -> bytes:
        """Return the ML-DSA-44 signature over ``message``."""
        return _mldsa44_private(self.seed).sign(message)


@lru_cache(maxsize=256)
def _ed25519_private(seed: bytes) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed)


@lru_cache(maxsize=256)
def _p256_private(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


@lru_cache(maxsize=256)
def _mldsa44_private(seed: bytes) -> mldsa.MLDSA44PrivateKey:
    return mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)


@lru_cache(maxsize=256)
def _mldsa44_public(raw: bytes) -> mldsa.MLDSA44PublicKey:
    return mldsa.MLDSA44PublicKey.from_public_bytes(raw)


@lru_cache(maxsize=_CACHED_KEYS)
def _ed25519_public(raw: bytes) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


@lru_cache(maxsize=_CACHED_KEYS)
def _p256_public(raw: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)


def ed25519_verify(public_raw: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` is a good Ed25519 signature with an R of full order."""
    if len(signature) != SIGNATURE_BYTES or is_small_order_point(signature[:32]):
        return False
    try:
        _ed25519_public(public_raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def mldsa44_verify(public_raw: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` is a good ML-DSA-44 signature with an empty context (FIPS 204)."""
    if len(signature) != MLDSA44_SIGNATURE_BYTES:
        return False
    try:
        _mldsa44_public(public_raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _p256_verify(public_raw: bytes, signature: bytes, message: bytes) -> bool:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if len(signature) != SIGNATURE_BYTES or not 0 < r < _P256_ORDER or not 0 < s <= _P256_ORDER // 2:
        return False
    try:
        _p256_public(public_raw).verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def verify(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` over ``message`` is good for ``key``; total."""
    if key.algorithm is Algorithm.ED25519:
        return ed25519_verify(key.raw, signature, message)
    if key.algorithm is Algorithm.ECDSA_P256:
        return _p256_verify(key.raw, signature, message)
    if key.algorithm is Algorithm.MLDSA44:
        return mldsa44_verify(key.raw, signature, message)
    return False
