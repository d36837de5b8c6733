"""Authorities that an organisation has already: read from its files, and checked before they certify anything."""

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.tls.profile import Branch, SigningAuthority
from pipeline.core.errors import ConfigError


def read_certificate(file: Path, now: datetime, *, below: int) -> x509.Certificate:
    """Return an authority's certificate that allows ``below`` authorities beneath it.

    Raises:
        ConfigError: it is none, is not valid now, or may not do that (code ``pki``).
    """
    try:
        found = x509.load_pem_x509_certificate(file.read_bytes())
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise ConfigError(f"{file} is no authority's certificate in PEM: {error}", code="pki") from None
    if not constraints.ca or not usage.key_cert_sign:
        raise ConfigError(f"{file} may not certify others: give an authority's certificate", code="pki")
    if constraints.path_length is not None and constraints.path_length < below:
        raise ConfigError(
            f"{file} allows {constraints.path_length} authorities beneath it, and {below} is needed",
            code="pki",
        )
    if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
        raise ConfigError(f"{file} is not valid now: give one that is", code="pki")
    return found


def read_authority(certificate: Path, key: Path, now: datetime, *, below: int) -> SigningAuthority:
    """Return an authority with its key, on a curve of NIST's, as PKCS#8 PEM without a password.

    Raises:
        ConfigError: as ``read_certificate``; or the key is another's or of another kind (code ``pki``).
    """
    found = read_certificate(certificate, now, below=below)
    try:
        held = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{key} is no private key in PEM without a password: {error}", code="pki") from None
    if not isinstance(held, ec.EllipticCurvePrivateKey) or held.curve.key_size < ec.SECP256R1.key_size:
        raise ConfigError(f"{key} is not on P-256 or a larger curve: use an authority that is", code="pki")
    if held.public_key() != found.public_key():
        raise ConfigError(f"{key} is not the key of {certificate}", code="pki")
    return SigningAuthority(found, held)


def demand_issued_by(root: x509.Certificate, own: SigningAuthority, branch: Branch) -> None:
    """Refuse an authority that the root did not certify itself.

    Raises:
        ConfigError: it did not (code ``pki``).
    """
    try:
        own.certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise ConfigError(f"the root did not certify the authority for {branch}", code="pki") from None


def is_limited(certificate: x509.Certificate) -> bool:
    """Whether an authority's certificate says which names it may certify."""
    try:
        certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    return True
