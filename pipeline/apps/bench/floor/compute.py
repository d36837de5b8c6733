"""Primitives of cryptography and hashing: the library's own calls, with keys ready, on bytes as long as ours."""

import hmac
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from pipeline.apps.bench.floor.shape import Shape
from pipeline.apps.bench.floor.timing import Primitive, local
from pipeline.apps.bench.plan import platform_key, secret
from pipeline.core.sealing import CONTENT_KEY_BYTES, Suite, seal_key, unseal_key

CHECKPOINT_BYTES: Final = 200
NODE_BYTES: Final = 65
"""What a node of a tree hashes: a prefix and two hashes."""
_LEAF_HEAD_BYTES: Final = 17
_RECORD_LEAF_HEAD_BYTES: Final = 87
_SALT_INPUT: Final = bytes(22)
_NONCE: Final = bytes(12)


def signatures(size: int) -> Iterator[Primitive]:
    """Yield signing and checking a message of ``size`` bytes, for both algorithms of sites."""
    message = secret("message", size)
    edwards = ed25519.Ed25519PrivateKey.from_private_bytes(secret("ed25519"))
    yield local(f"ed25519 sign {size}", partial(edwards.sign, message))
    verify = partial(edwards.public_key().verify, edwards.sign(message), message)
    yield local(f"ed25519 verify {size}", verify)
    curve, algorithm = ec.derive_private_key(0x1234567, ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    yield local(f"p256 sign {size}", partial(curve.sign, message, algorithm))
    verify = partial(curve.public_key().verify, curve.sign(message, algorithm), message, algorithm)
    yield local(f"p256 verify {size}", verify)


def cosignatures() -> Iterator[Primitive]:
    """Yield what a node's second key does with a checkpoint."""
    key = mldsa.MLDSA44PrivateKey.from_seed_bytes(secret("mldsa44"))
    message = secret("checkpoint", CHECKPOINT_BYTES)
    yield local(f"mldsa44 sign {CHECKPOINT_BYTES}", partial(key.sign, message))
    verify = partial(key.public_key().verify, key.sign(message), message)
    yield local(f"mldsa44 verify {CHECKPOINT_BYTES}", verify)


def sealings(suite: Suite) -> Iterator[Primitive]:
    """Yield sealing a content key to a reader and opening it."""
    key, content_key, info = platform_key(1, suite), secret("content"), secret("info", 80)
    sealed = seal_key(key.public, content_key, info)
    name = suite.name.lower()
    yield local(f"kem seal {name}", partial(seal_key, key.public, content_key, info))
    yield local(f"kem open {name}", partial(unseal_key, key, sealed, info))


def contents(suite: Suite, size: int) -> Iterator[Primitive]:
    """Yield encrypting and decrypting ``size`` bytes under a key that is new each time."""
    cipher: type[AESGCM | ChaCha20Poly1305] = ChaCha20Poly1305 if suite is Suite.LIGHT else AESGCM
    key, plain, aad = secret("key", CONTENT_KEY_BYTES), secret("plain", size), secret("aad", 250)
    sealed = cipher(key).encrypt(_NONCE, plain, aad)
    name = "chacha20" if suite is Suite.LIGHT else "aes256gcm"
    yield local(f"{name} seal {size}", lambda: cipher(key).encrypt(_NONCE, plain, aad))
    yield local(f"{name} open {size}", lambda: cipher(key).decrypt(_NONCE, sealed, aad))


def digests(size: int) -> Primitive:
    """Return hashing ``size`` bytes."""
    data = secret("data", size)
    return local(f"sha256 {size}", lambda: sha256(data).digest())


def salts() -> Iterator[Primitive]:
    """Yield deriving a record's salt: as one call, and from the two hash states that all salts of a packet share."""
    seed = secret("seed")
    yield local("salt by hmac", partial(hmac.digest, seed, _SALT_INPUT, "sha256"))
    inner, outer = sha256(bytes(64)), sha256(bytes(64))

    def shared() -> bytes:
        own = inner.copy()
        own.update(_SALT_INPUT)
        last = outer.copy()
        last.update(own.digest())
        return last.digest()

    yield local("salt by shared states", shared)


def sizes(shape: Shape) -> dict[str, int]:
    """Return by what it is how many bytes a stage hashes at once."""
    packet = len(shape.packet.raw)
    return {
        "packet": packet,
        "leaf": packet + 1 + _LEAF_HEAD_BYTES,
        "record": _RECORD_LEAF_HEAD_BYTES + len(shape.record_bytes[0]),
        "node": NODE_BYTES,
    }


def of_shape(shape: Shape) -> Iterator[Primitive]:
    """Yield every primitive of this kind that a stage needs for packets of a shape."""
    yield from signatures(len(shape.packet.signed))
    yield from (each for each in signatures(CHECKPOINT_BYTES) if each.name.startswith("ed25519"))
    yield from cosignatures()
    yield from sealings(shape.suite)
    yield from contents(shape.suite, len(shape.packet.encrypted))
    yield from salts()
    yield from map(digests, sorted(set(sizes(shape).values())))
