"""The formats of packets, control records and blocks written down a second time, for test vectors.

Rests on hashlib, fastavro, ``cryptography`` and the schema texts alone; imports nothing of the pipeline.
"""

from hashlib import sha256
from io import BytesIO
from typing import Any

import fastavro
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, utils, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from schemas import schema
from tests.vectors.generate_merkle import root

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519, ECDSA, X25519, XWING, ECDH = 1, 2, 3, 4, 5
SITE, PLATFORM, NODE, REGISTRAR, ROOT, LOG = 1, 2, 3, 4, 5, 6
SUITES = {1: (XWING, ED25519), 2: (X25519, ED25519), 3: (ECDH, ECDSA)}
COMPRESSED = (serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def digest(*parts: bytes) -> bytes:
    """Return SHA-256 over the joined parts."""
    return sha256(b"".join(parts)).digest()


def u32(number: int) -> bytes:
    """Return four big-endian bytes."""
    return number.to_bytes(4, "big")


def u64(number: int) -> bytes:
    """Return eight big-endian bytes."""
    return number.to_bytes(8, "big")


def long(number: int) -> bytes:
    """Return Avro's zigzag integer of a number from 0 on."""
    number, out = number * 2, b""
    while number >= 128:
        out += bytes([number % 128 + 128])
        number //= 128
    return out + bytes([number])


def blob(data: bytes) -> bytes:
    """Return Avro's bytes or string value."""
    return long(len(data)) + data


def avro(name: str, value: dict[str, Any]) -> bytes:
    """Return the encoding of a value by a published schema."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema(name).parsed, value)
    return out.getvalue()


def framed(name: str, body: bytes) -> bytes:
    """Return a body in the Confluent wire format."""
    return b"\0" + u32(schema(name).id) + body


def fingerprint(use: int, algorithm: int, raw: bytes) -> bytes:
    """Return the fingerprint of a public key."""
    return digest(b"bkdms/key/v1\0", bytes([use, algorithm]), raw)


def signing_public(algorithm: int, secret: bytes) -> bytes:
    """Return the raw public half of a signing key."""
    if algorithm == ED25519:
        return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    return key.public_key().public_bytes(*COMPRESSED)


def sign(algorithm: int, secret: bytes, message: bytes) -> bytes:
    """Return the 64-byte signature."""
    if algorithm == ED25519:
        return Ed25519PrivateKey.from_private_bytes(secret).sign(message)
    key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    der = key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(32, "big") + (s if 2 * s < ORDER else ORDER - s).to_bytes(32, "big")


def sealing_public(algorithm: int, secret: bytes) -> bytes:
    """Return the raw public half of a sealing key."""
    if algorithm == ECDH:
        return signing_public(ECDSA, secret)
    curve = x25519.X25519PrivateKey.from_private_bytes(secret[-32:]).public_key().public_bytes_raw()
    if algorithm == X25519:
        return curve
    return mlkem.MLKEM768PrivateKey.from_seed_bytes(secret[:64]).public_key().public_bytes_raw() + curve


def hpke_seal(algorithm: int, secret: bytes, message: bytes, info: bytes) -> bytes:
    """Seal to the public half of a sealing key; different bytes in every run."""
    sha, aes = hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM
    curve = x25519.X25519PrivateKey.from_private_bytes(secret[-32:]).public_key()
    if algorithm == X25519:
        return hpke.Suite(hpke.KEM.X25519, sha, hpke.AEAD.CHACHA20_POLY1305).encrypt(message, curve, info)
    if algorithm == ECDH:
        key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
        return hpke.Suite(hpke.KEM.P256, sha, aes).encrypt(message, key.public_key(), info)
    kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(secret[:64]).public_key()
    both = hpke.MLKEM768X25519PublicKey(kem, curve)
    return hpke.Suite(hpke.KEM.MLKEM768_X25519, sha, aes).encrypt(message, both, info)


def salts(seed: bytes, count: int) -> list[bytes]:
    """Return the salts of a packet's records (HMAC, RFC 2104, by hand)."""
    key = seed + bytes(32)
    inner, outer = (bytes(byte ^ pad for byte in key) for pad in (0x36, 0x5C))
    return [digest(outer, digest(inner, b"bkdms/leaf-salt/v1\0", u32(i))) for i in range(count)]


def record_leaves(fields: dict[str, Any], seed: bytes, records: list[bytes]) -> list[bytes]:
    """Return the salted leaves of a packet's records."""
    count = len(records)
    names = fields["chain"] + fields["site_id"] + fields["site_key"]
    context = digest(b"bkdms/record-ctx/v1\0", names, u64(fields["sequence"]), u32(count))
    pairs = zip(salts(seed, count), records, strict=True)
    return [
        digest(b"\0bkdms/record/v1\0", context, u32(i), salt, record)
        for i, (salt, record) in enumerate(pairs)
    ]


def seal(
    fields: dict[str, Any],
    site: tuple[int, bytes],
    platform: tuple[int, bytes],
    seed: bytes,
    key: bytes,
    records: list[bytes],
) -> tuple[bytes, int]:
    """Return a sealed packet and the length of its clear part; keys are (algorithm, secret)."""
    fields = fields | {"record_count": len(records), "digest": root(record_leaves(fields, seed, records))}
    clear = long(1) + fields["chain"] + blob(fields["country"].encode()) + blob(fields["city"].encode())
    clear += fields["site_id"] + fields["site_key"] + blob(fields["module_id"].encode())
    clear += long(fields["sequence"]) + fields["previous_packet"]
    clear += long(fields["collected_from"]) + long(fields["collected_to"])
    clear += long(len(records)) + long(fields["suite"]) + fields["digest"]
    reader = fingerprint(PLATFORM, platform[0], sealing_public(*platform))
    sealed = hpke_seal(*platform, key, b"bkdms/seal/v1\0" + digest(clear) + reader)
    plain = seed + long(len(records)) + b"".join(map(blob, records)) + b"\0"
    plain += bytes(-len(plain) % 256)
    cipher = ChaCha20Poly1305(key) if fields["suite"] == 2 else AESGCM(key)
    encrypted = cipher.encrypt(bytes(12), plain, b"bkdms/content/v1\0" + clear)
    signed = clear + long(1) + reader + blob(sealed) + b"\0" + blob(encrypted)
    return signed + sign(*site, b"bkdms/packet/v1\0" + signed), len(clear)


def packet_id(raw: bytes) -> bytes:
    """Return the identifier of a packet."""
    return digest(b"bkdms/packet-id/v1\0", raw[:-64])


def control(
    chain: bytes,
    secret: bytes,
    sequence: int,
    previous: bytes,
    action: int,
    body: bytes,
    use: int = REGISTRAR,
) -> tuple[bytes, bytes]:
    """Return an encoded control record of an Ed25519 key (a registrar's, if not said), and its identifier."""
    issuer = fingerprint(use, ED25519, signing_public(ED25519, secret))
    clear = long(1) + chain + issuer + long(sequence) + previous + long(action) + blob(body)
    signature = sign(ED25519, secret, b"bkdms/control/v1\0" + clear)
    return clear + long(1) + issuer + signature + b"\0", digest(b"bkdms/control-id/v1\0", clear)


def leaf(kind: int, offset: int, time: int, payload: bytes) -> bytes:
    """Return a leaf hash of the chain's tree."""
    return digest(b"\0", bytes([kind]), u64(offset), u64(time), payload)


def tracing_code(chain: bytes, height: int, entry: int) -> str:
    """Return the tracing code of an entry; the check character is found by trying all of them."""
    body = f"{base32(int.from_bytes(chain[:5], 'big')).rjust(8, '0')}-{base32(height)}-{base32(entry)}"
    symbols = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    product = 36
    for symbol in body.replace("-", ""):
        product = ((product + symbols.index(symbol)) % 36 or 36) * 2 % 37
    (check,) = [symbol for number, symbol in enumerate(symbols) if (product + number) % 36 == 1]
    return f"{body}-{check}"


def base32(number: int) -> str:
    """Return a number in Crockford's base 32, without leading zeros."""
    return (base32(number // 32) if number >= 32 else "") + SYMBOLS[number % 32]
