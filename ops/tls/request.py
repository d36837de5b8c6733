"""Requests for certificates (PKCS#10): made where the key stays, and read for nothing but the key and its proof."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.core.errors import ConfigError

MAX_REQUEST_BYTES = 16_384


def new_request() -> tuple[bytes, bytes]:
    """Make a P-256 key; returns it as PKCS#8 PEM, and the request to send to an authority.

    The request names nobody: the authority says who the holder is.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return pem_key(key), request.public_bytes(serialization.Encoding.PEM)


def requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """Return the public key of a PEM request, whose sender proved to have the private one.

    Raises:
        ConfigError: it is no request, its signature is wrong, or the key is not on P-256 (code ``csr``).
    """
    if len(request) > MAX_REQUEST_BYTES:
        raise ConfigError(
            f"the request is longer than {MAX_REQUEST_BYTES} bytes: ask for another", code="csr"
        )
    try:
        found = x509.load_pem_x509_csr(request)
        is_proven, key = found.is_signature_valid, found.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"that is no certificate request in PEM: {error}", code="csr") from None
    if not is_proven:
        raise ConfigError(
            "the request is not signed by the key that it asks a certificate for: ask for another", code="csr"
        )
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("the request's key is not on P-256: make a key with that curve", code="csr")
    return key


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PKCS#8 PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)
