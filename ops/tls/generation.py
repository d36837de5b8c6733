"""One generation of the authorities, as the files of a folder: a root, both authorities under it, their keys.

Owns the files and the check that they belong together. Where keys are kept is a ``CaKeys``: plain files here, sealed
ones where programs give theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.files import write_private
from ops.tls.profile import Branch, SigningAuthority, anchor_certificate
from ops.tls.request import pem, pem_key
from pipeline.core.errors import ConfigError

ROOT = "root"


class CaKeys(Protocol):
    """Where the authorities' keys are kept; ``pipeline.adapters.key_files.KeyFiles`` is one."""

    def secret(self, path: Path, use: str) -> bytes:
        """Return the secret in a file that was made for this use.

        Raises:
            ConfigError: it can't be had.
        """

    def save_secret(self, path: Path, secret: bytes, use: str) -> None:
        """Write a secret to a new private file.

        Raises:
            ConfigError: it can't be written.
        """


class PlainCaKeys:
    """Keys as PEM in clear, mode 0600: for servers that run without a deployment around them."""

    def secret(self, path: Path, use: str) -> bytes:
        """Return the content of a file, whatever it was made for."""
        return path.read_bytes()

    def save_secret(self, path: Path, secret: bytes, use: str) -> None:
        """Write it; ``use`` is not kept."""
        write_private(path, secret)


PLAIN_CA_KEYS = PlainCaKeys()


@dataclass(frozen=True, slots=True)
class Issuer:
    """One authority: its certificate under the root, the self-signed twin, and the key where it is kept here."""

    certificate: x509.Certificate
    anchor: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom holders trust, as PEM: who is outside the root, the platform's parts the twin of their authority."""

    root: bytes
    parts: bytes


@dataclass(frozen=True, slots=True)
class Generation:
    """A root certificate and the authorities under it."""

    root: x509.Certificate
    issuers: Mapping[Branch, Issuer]

    @property
    def trusted(self) -> Trusted:
        """Whom holders of its certificates trust."""
        return Trusted(pem(self.root), pem(self.issuers[Branch.PLATFORM].anchor))

    @classmethod
    def load(cls, folder: Path, keys: CaKeys) -> "Generation":
        """Read the files of ``folder``; keys that are not there are elsewhere.

        Raises:
            ConfigError: files are missing, damaged, or don't belong together (code ``pki``); a key does not open.
        """
        try:
            root = x509.load_pem_x509_certificate((folder / f"{ROOT}.pem").read_bytes())
            return cls(root, {branch: _issuer(folder, branch, root, keys) for branch in Branch})
        except (OSError, ValueError, TypeError, InvalidSignature) as error:
            reason = str(error) or "a signature is wrong"
            raise ConfigError(f"no usable certificate authority in {folder}: {reason}", code="pki") from error


def use_of(name: str) -> str:
    """Return what the key of an authority says that it is for."""
    return f"transport-{name}"


def key_files_in(folder: Path) -> dict[Path, str]:
    """Return the files of authorities' keys in ``folder`` and in what is to follow it, with their uses."""
    names = (ROOT, *Branch)
    found = {place / f"{name}.key": use_of(name) for place in (folder, folder / "next") for name in names}
    return {path: use for path, use in found.items() if path.is_file()}


def write_generation(
    folder: Path,
    root: x509.Certificate,
    branches: Mapping[Branch, SigningAuthority],
    keys: CaKeys,
    *,
    root_key: ec.EllipticCurvePrivateKey | None = None,
) -> None:
    """Write all files of a generation into an empty folder, the root's key only where it is given."""
    for branch, own in branches.items():
        write_private(folder / f"{branch}.pem", pem(own.certificate))
        write_private(folder / f"{branch}-anchor.pem", pem(anchor_certificate(branch, own)))
        keys.save_secret(folder / f"{branch}.key", pem_key(own.key), use_of(branch))
    if root_key is not None:
        keys.save_secret(folder / f"{ROOT}.key", pem_key(root_key), use_of(ROOT))
    write_private(folder / f"{ROOT}.pem", pem(root))


def _issuer(folder: Path, branch: Branch, root: x509.Certificate, keys: CaKeys) -> Issuer:
    certificate = x509.load_pem_x509_certificate((folder / f"{branch}.pem").read_bytes())
    anchor = x509.load_pem_x509_certificate((folder / f"{branch}-anchor.pem").read_bytes())
    certificate.verify_directly_issued_by(root)
    if (anchor.subject, anchor.public_key()) != (certificate.subject, certificate.public_key()):
        raise ValueError(f"{branch}-anchor.pem is not the twin of {branch}.pem")
    key_file = folder / f"{branch}.key"
    if not key_file.exists():
        return Issuer(certificate, anchor, None)
    key = serialization.load_pem_private_key(keys.secret(key_file, use_of(branch)), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError(f"{branch}.key is not the key of {branch}.pem")
    return Issuer(certificate, anchor, key)
