"""TLS contexts for our own clients and servers: TLS 1.3 only, both sides show a certificate.

Owns how a context is set up; issuing certificates is ``ops.tls``'s.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Three PEM files: the trusted root, our certificate, our PKCS#8 private key."""

    ca: Path
    certificate: Path
    key: Path


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that demands a server certificate for the host that was asked for.

    Raises:
        ConfigError: a file is missing or is not what its name says.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that refuses clients without a certificate of our CA.

    Raises:
        ConfigError: a file is missing or is not what its name says.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=files.ca)
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot load the TLS files {files.ca}, {files.certificate}, {files.key}: {error}",
            code="config.tls",
        ) from error
    return context
