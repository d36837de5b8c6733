"""Public keys: their use, algorithm, fingerprint and hygiene.

A key has one use. Keys that other implementations would judge differently (small order,
non-canonical encoding) are refused when they are met, not when they are used.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, mldsa, mlkem, x25519

_FINGERPRINT = b"bkdms/key/v1\x00"
_P25519 = 2**255 - 19
_XWING_KEM_BYTES = 1184
# y of the Ed25519 points of order 1, 2, 4 and 8.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _P25519 - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    }
)
# Each of them with either sign and, where 255 bits have room for it, once more above the modulus.
_SMALL_ORDER_POINTS = frozenset(
    (y | sign << 255).to_bytes(32, "little")
    for small in _SMALL_ORDER_Y
    for y in (small, small + _P25519)
    if y < 2**255
    for sign in (0, 1)
)
# 5 L - 1, L being the order of the Ed25519 base point: 0 modulo 8, -1 modulo L, and a scalar as X25519 takes it.
_CLEARING_SCALAR = (5 * (2**252 + 27742317777372353535851937790883648493) - 1).to_bytes(32, "little")
_CACHED_POINTS = 65_536
# u of the Curve25519 points of small order, whose shared secret is all zero (RFC 7748 6.1).
_SMALL_ORDER_U = frozenset(
    {
        0,
        1,
        _P25519 - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


class Use(IntEnum):
    """What a key is for; part of its fingerprint, so that no key can serve two uses."""

    SITE = 1
    PLATFORM = 2
    NODE = 3
    REGISTRAR = 4
    ROOT = 5
    LOG = 6
    ACCESS_LOG = 7
    READER = 8
    TOKEN = 9


class Algorithm(IntEnum):
    """Algorithm of a raw public key."""

    ED25519 = 1
    ECDSA_P256 = 2
    X25519 = 3
    XWING = 4
    ECDH_P256 = 5
    MLDSA44 = 6


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that passed its checks.

    ``raw`` is 32 bytes for the 25519 curves, 33 (compressed point) for P-256, 1,216 (ML-KEM-768
    then X25519) for the hybrid, 1,312 for ML-DSA-44. ``fingerprint`` is 32 bytes.

    Raises:
        ValueError: the key is weak, non-canonical or of the wrong size.
    """

    use: Use
    algorithm: Algorithm
    raw: bytes
    fingerprint: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        problem = key_problem(self.algorithm, self.raw)
        if problem is not None:
            raise ValueError(problem)
        digest = sha256(_FINGERPRINT + bytes((self.use, self.algorithm)) + self.raw).digest()
        object.__setattr__(self, "fingerprint", digest)


def is_small_order_point(encoded: bytes) -> bool:
    """Tell whether 32 bytes encode an Ed25519 point of small order, canonically or not."""
    return encoded in _SMALL_ORDER_POINTS


def key_problem(algorithm: Algorithm, raw: bytes) -> str | None:
    """Return why a raw public key is refused, or None for a good one."""
    match algorithm:
        case Algorithm.ED25519:
            return _ed25519_problem(raw)
        case Algorithm.X25519:
            return _x25519_problem(raw)
        case Algorithm.XWING:
            return _xwing_problem(raw)
        case Algorithm.ECDSA_P256 | Algorithm.ECDH_P256:
            return _p256_problem(raw)
        case Algorithm.MLDSA44:
            return _mldsa44_problem(raw)


def _ed25519_problem(raw: bytes) -> str | None:
    if len(raw) != 32:
        return "an Ed25519 public key has 32 bytes"
    if int.from_bytes(raw, "little") & (2**255 - 1) >= _P25519:
        return "Ed25519 public key is not canonically encoded"
    if is_small_order_point(raw):
        return "Ed25519 public key has small order"
    return None if _has_prime_order(raw) else "Ed25519 public key is not in the group of prime order"


@lru_cache(maxsize=_CACHED_POINTS)
def _has_prime_order(raw: bytes) -> bool:
    """Tell whether a canonical Ed25519 point not of small order has no part of small order, and is on the curve.

    A key with such a part verifies for some libraries and not for others. The scalar takes that part away and
    negates the rest, which leaves the Montgomery coordinate u (RFC 7748 4.1) of a good point as it was.
    """
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    u = ((1 + y) * pow(1 - y, -1, _P25519) % _P25519).to_bytes(32, "little")
    clearing = x25519.X25519PrivateKey.from_private_bytes(_CLEARING_SCALAR)
    return clearing.exchange(x25519.X25519PublicKey.from_public_bytes(u)) == u


def _x25519_problem(raw: bytes) -> str | None:
    if len(raw) != 32:
        return "an X25519 public key has 32 bytes"
    u = int.from_bytes(raw, "little")
    if u >= _P25519:
        return "X25519 public key is not canonically encoded"
    return "X25519 public key has small order" if u in _SMALL_ORDER_U else None


def _xwing_problem(raw: bytes) -> str | None:
    if len(raw) != _XWING_KEM_BYTES + 32:
        return "a hybrid public key has 1216 bytes: ML-KEM-768, then X25519"
    try:
        mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_XWING_KEM_BYTES])
    except ValueError:
        return "ML-KEM-768 public key is invalid"
    return _x25519_problem(raw[_XWING_KEM_BYTES:])


def _mldsa44_problem(raw: bytes) -> str | None:
    try:
        mldsa.MLDSA44PublicKey.from_public_bytes(raw)
    except ValueError:
        return "an ML-DSA-44 public key has 1312 bytes"
    return None


def _p256_problem(raw: bytes) -> str | None:
    if len(raw) != 33 or raw[0] not in (2, 3):
        return "a P-256 public key is a compressed point of 33 bytes"
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        return "P-256 public key is not on the curve"
    return None
