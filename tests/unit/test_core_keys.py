"""Keys and signatures: one form accepted, weak ones refused, no key passes for another."""

from hashlib import sha256, sha512

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.keys import Algorithm, PublicKey, Use, key_problem
from pipeline.core.sealing import PRIVATE_BYTES, SealingKey, seal_key, unseal_key
from pipeline.core.signing import Ed25519Signer, P256Signer, Signer, verify
from tests.support.world import secret

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
MESSAGE = b"message"
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """Add two points of Ed25519 (RFC 8032 5.1.4, affine)."""
    cross = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + cross, P - 2, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - cross, P - 2, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    """Multiply a point of Ed25519."""
    found = (0, 1)
    for bit in bin(scalar)[2:]:
        found = add(found, found)
        if bit == "1":
            found = add(found, point)
    return found


def point_of(y: int) -> Point | None:
    """Return a point with that y, or None."""
    squared = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(squared, (P + 3) // 8, P)
    if (x * x - squared) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if (x * x - squared) % P == 0 else None


def torsion() -> set[Point]:
    """Return the eight points of small order, found by multiplying points by the group's order."""
    for y in range(2, 50):
        point = point_of(y)
        if point is not None and len(found := _multiples(times(L, point))) == 8:
            return found
    raise AssertionError("no generator of the small subgroup")


def _multiples(point: Point) -> set[Point]:
    found, current = set[Point](), (0, 1)
    while current not in found:
        found.add(current)
        current = add(current, point)
    return found


SMALL = sorted(torsion())


def encodings(point: Point) -> list[bytes]:
    """Return every 32-byte encoding of a point that a lenient reader takes: y or y + p, either sign for x = 0."""
    signs = (0, 1) if point[0] == 0 else (point[0] & 1,)
    values = [y for y in (point[1], point[1] + P) if y < 2**255]
    return [(y | sign << 255).to_bytes(32, "little") for y in values for sign in signs]


@pytest.mark.parametrize("encoded", [e for p in SMALL for e in encodings(p)], ids=bytes.hex)
def test_an_ed25519_key_of_small_order_is_refused_in_every_encoding(encoded: bytes) -> None:
    assert key_problem(Algorithm.ED25519, encoded) is not None
    with pytest.raises(ValueError, match="Ed25519"):
        PublicKey(Use.SITE, Algorithm.ED25519, encoded)


@pytest.mark.parametrize("y", [P, P + 3, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_non_canonical_ed25519_key_is_refused(y: int, sign: int) -> None:
    encoded = (y | sign << 255).to_bytes(32, "little")
    assert key_problem(Algorithm.ED25519, encoded) == "Ed25519 public key is not canonically encoded"


@pytest.mark.parametrize("part", [point for point in SMALL if point != (0, 1)], ids=str)
def test_an_ed25519_key_of_mixed_order_is_refused(part: Point) -> None:
    """Such a key verifies some signatures for OpenSSL and others for libraries that multiply by the cofactor."""
    good = Ed25519Signer(secret("mixed"), Use.SITE).public.raw
    y = int.from_bytes(good, "little") & (2**255 - 1)
    point = point_of(y)
    assert point is not None
    x, y = add(point, part)
    mixed = (y | (x & 1) << 255).to_bytes(32, "little")
    assert key_problem(Algorithm.ED25519, mixed) == "Ed25519 public key is not in the group of prime order"
    assert key_problem(Algorithm.ED25519, good) is None


@pytest.mark.parametrize("y", [y for y in range(2, 40) if point_of(y) is None])
def test_an_ed25519_key_off_the_curve_is_refused(y: int) -> None:
    assert key_problem(Algorithm.ED25519, y.to_bytes(32, "little")) is not None


@pytest.mark.parametrize("encoded", [e for p in SMALL for e in encodings(p)], ids=bytes.hex)
def test_a_signature_with_r_of_small_order_is_refused(encoded: bytes) -> None:
    """S is made to fit R, so that the verification equation holds up to the small component."""
    signer = Ed25519Signer(secret("r"), Use.SITE)
    key = signer.public
    assert not verify(key, _signature_with_r(signer.seed, encoded), MESSAGE)


def _signature_with_r(seed: bytes, r: bytes) -> bytes:
    raw = Ed25519Signer(seed, Use.SITE).public.raw
    scalar = int.from_bytes(sha512(seed).digest()[:32], "little") & (2**254 - 8) | 2**254
    challenge = int.from_bytes(sha512(r + raw + MESSAGE).digest(), "little")
    return r + (challenge * scalar % L).to_bytes(32, "little")


def test_openssl_alone_would_take_a_signature_whose_r_is_the_identity() -> None:
    """What the check of R is for; where this fails the library refuses by itself."""
    signature = _signature_with_r(secret("r"), (1).to_bytes(32, "little"))
    raw = Ed25519Signer(secret("r"), Use.SITE).public.raw
    ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(signature, MESSAGE)


def test_an_ed25519_signature_with_s_not_reduced_is_refused() -> None:
    signer = Ed25519Signer(secret("s"), Use.SITE)
    signature = signer.sign(MESSAGE)
    high = int.from_bytes(signature[32:], "little") + L
    assert verify(signer.public, signature, MESSAGE)
    assert not verify(signer.public, signature[:32] + high.to_bytes(32, "little"), MESSAGE)


P256 = P256Signer(secret("p256"), Use.SITE)


def test_an_ecdsa_signature_has_low_s_whatever_the_message() -> None:
    for number in range(40):
        message = bytes([number])
        signature = P256.sign(message)
        assert 0 < int.from_bytes(signature[32:], "big") <= N // 2
        assert verify(P256.public, signature, message)


def test_the_other_s_of_an_ecdsa_signature_is_refused() -> None:
    signature = P256.sign(MESSAGE)
    high = N - int.from_bytes(signature[32:], "big")
    assert not verify(P256.public, signature[:32] + high.to_bytes(32, "big"), MESSAGE)


@pytest.mark.parametrize("r", [None, 0, N, N + 1, 2**256 - 1])
@pytest.mark.parametrize("s", [None, 0, N, N + 1, 2**256 - 1])
def test_ecdsa_numbers_outside_their_range_are_refused(r: int | None, s: int | None) -> None:
    good = P256.sign(MESSAGE)
    first = good[:32] if r is None else r.to_bytes(32, "big")
    second = good[32:] if s is None else s.to_bytes(32, "big")
    assert verify(P256.public, first + second, MESSAGE) is (r is None and s is None)


@given(st.binary(max_size=130), st.sampled_from([P256, Ed25519Signer(secret("any"), Use.SITE)]))
def test_any_bytes_are_no_signature_and_no_error(signature: bytes, signer: Signer) -> None:
    assert not verify(signer.public, signature, MESSAGE)


@given(st.binary(max_size=70) | st.binary(min_size=1210, max_size=1220), st.sampled_from(list(Algorithm)))
def test_any_bytes_are_a_key_or_have_a_problem(raw: bytes, algorithm: Algorithm) -> None:
    problem = key_problem(algorithm, raw)
    if problem is None:
        assert PublicKey(Use.SITE, algorithm, raw).raw == raw


def test_a_p256_point_off_the_curve_is_refused() -> None:
    off = next(
        raw
        for x in range(1, 50)
        if key_problem(Algorithm.ECDSA_P256, raw := b"\x02" + x.to_bytes(32, "big")) is not None
    )
    assert key_problem(Algorithm.ECDSA_P256, off) == "P-256 public key is not on the curve"
    assert key_problem(Algorithm.ECDH_P256, b"\x02" + b"\xff" * 32) == "P-256 public key is not on the curve"


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256, Algorithm.ECDH_P256])
def test_only_the_compressed_form_of_a_p256_key_is_accepted(algorithm: Algorithm) -> None:
    public = ec.derive_private_key(5, ec.SECP256R1()).public_key()
    forms = serialization.PublicFormat
    compressed = public.public_bytes(serialization.Encoding.X962, forms.CompressedPoint)
    uncompressed = public.public_bytes(serialization.Encoding.X962, forms.UncompressedPoint)
    hybrid = bytes([6 + (uncompressed[-1] & 1)]) + uncompressed[1:]
    assert key_problem(algorithm, compressed) is None
    for other in (uncompressed, hybrid, b"\0", b"\0" + compressed[1:], b""):
        assert key_problem(algorithm, other) == "a P-256 public key is a compressed point of 33 bytes"


def montgomery(point: Point) -> int:
    """Return the u coordinate on Curve25519 (RFC 7748 4.1); 0 for the identity as well."""
    return (1 + point[1]) * pow(1 - point[1], P - 2, P) % P


@pytest.mark.parametrize("u", sorted({montgomery(point) for point in SMALL} | {P - 1, 0, 1}))
def test_an_x25519_key_of_small_order_is_refused(u: int) -> None:
    """P - 1 is of small order on the twist."""
    assert key_problem(Algorithm.X25519, u.to_bytes(32, "little")) == "X25519 public key has small order"


@pytest.mark.parametrize("u", [P, P + 1, P + 9, 9 + 2**255, 2**256 - 1])
def test_an_x25519_key_in_another_encoding_is_refused(u: int) -> None:
    problem = key_problem(Algorithm.X25519, u.to_bytes(32, "little"))
    assert problem == "X25519 public key is not canonically encoded"


HYBRID = SealingKey(Algorithm.XWING, secret("hybrid", 96))


def test_a_hybrid_key_whose_lattice_half_is_not_reduced_is_refused() -> None:
    raw = b"\xff" * 1152 + HYBRID.public.raw[1152:]
    assert key_problem(Algorithm.XWING, raw) == "ML-KEM-768 public key is invalid"


def test_a_hybrid_key_whose_curve_half_is_weak_is_refused() -> None:
    assert key_problem(Algorithm.XWING, HYBRID.public.raw[:1184] + bytes(32)) is not None


def test_a_hybrid_key_of_another_length_is_refused() -> None:
    for raw in (HYBRID.public.raw[:-1], HYBRID.public.raw + b"\0", b""):
        assert key_problem(Algorithm.XWING, raw) is not None


@pytest.mark.parametrize("half", [slice(0, 64), slice(64, 96)])
def test_mixing_the_halves_of_two_hybrid_keys_gives_another_fingerprint_and_opens_nothing(
    half: slice,
) -> None:
    mixed = bytearray(HYBRID.secret)
    mixed[half] = secret("other", 96)[half]
    other = SealingKey(Algorithm.XWING, bytes(mixed))
    assert other.public.fingerprint != HYBRID.public.fingerprint
    assert unseal_key(other, seal_key(HYBRID.public, bytes(32), b"info"), b"info") is None


@pytest.mark.parametrize("algorithm", list(PRIVATE_BYTES))
def test_a_private_sealing_key_of_another_length_is_refused(algorithm: Algorithm) -> None:
    for size in (0, PRIVATE_BYTES[algorithm] - 1, PRIVATE_BYTES[algorithm] + 1):
        with pytest.raises(ValueError, match="bytes"):
            _ = SealingKey(algorithm, bytes(range(1, 255))[:size]).public


def test_a_p256_secret_of_zero_or_past_the_order_is_refused() -> None:
    for number in (0, N, 2**256 - 1):
        with pytest.raises(ValueError, match=r"key|private"):
            _ = SealingKey(Algorithm.ECDH_P256, number.to_bytes(32, "big")).public


def test_use_and_algorithm_are_in_the_fingerprint() -> None:
    raw = P256.public.raw
    found = {
        PublicKey(use, algorithm, raw).fingerprint
        for use in Use
        for algorithm in (Algorithm.ECDSA_P256, Algorithm.ECDH_P256)
    }
    assert len(found) == 2 * len(Use)


def test_the_fingerprint_is_the_hash_of_use_algorithm_and_raw_key() -> None:
    key = Ed25519Signer(secret("f"), Use.NODE).public
    assert key.fingerprint == sha256(b"bkdms/key/v1\0\x03\x01" + key.raw).digest()


def test_a_sealing_key_verifies_nothing() -> None:
    signature = Ed25519Signer(secret("f"), Use.SITE).sign(MESSAGE)
    raw = SealingKey(Algorithm.X25519, secret("x")).public
    assert not verify(raw, signature, MESSAGE)
    assert not verify(PublicKey(Use.SITE, Algorithm.ECDH_P256, P256.public.raw), P256.sign(MESSAGE), MESSAGE)


def test_a_private_key_is_not_in_its_text() -> None:
    for key in (HYBRID, P256, Ed25519Signer(secret("f"), Use.SITE)):
        assert secret("f").hex() not in repr(key)
        assert "seed" not in repr(key)
        assert "secret" not in repr(key)
