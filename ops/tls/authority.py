"""The certificate authorities of a deployment: a root and under it one for sites, one for the platform's own parts.

Owns keys and certificates of the transport. Keys that sign packets or blocks are another matter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.files import private_folder, write_private
from ops.tls.principal import Principal, Role
from ops.tls.profile import (
    OUTSIDE_ROLES,
    Branch,
    Life,
    SigningAuthority,
    anchor_certificate,
    branch_certificate,
    branch_of,
    leaf_certificate,
    root_certificate,
    server_names,
)
from ops.tls.register import IssuedCertificate, enter
from ops.tls.request import pem, pem_key, requested_key
from pipeline.core.errors import ConfigError

ROOT_LIFETIME = timedelta(days=3650)
BRANCH_LIFETIME = timedelta(days=1825)
LEAF_LIFETIME = timedelta(days=30)
CA_FOLDER = "ca"
ROOT = "root"
# Servers that hear sites, too; every other server hears the platform's own parts alone.
_HEARS_OUTSIDE = frozenset({Role.BROKER, Role.API})


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Three PEM files: whom the holder trusts, the holder's certificate with its authority's, its PKCS#8 key."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> "CertificateFiles":
        """The files that ``Authority.issue`` writes to ``folder``; nothing is read."""
        return cls(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")

    @property
    def clients(self) -> Path:
        """Whose clients a broker or the API hears: those of both authorities."""
        return self.ca.with_name("clients.pem")


@dataclass(frozen=True, slots=True)
class Issuer:
    """One authority: its certificate under the root, the self-signed twin, and the key where it is kept here."""

    certificate: x509.Certificate
    anchor: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None


@dataclass(frozen=True, slots=True)
class Authority:
    """Root certificate and both authorities, in a private folder; the root's key is not needed and may be elsewhere."""

    folder: Path
    root: x509.Certificate
    issuers: Mapping[Branch, Issuer]

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether ``folder`` holds authorities, whole or damaged."""
        return (folder / CA_FOLDER).exists()

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        now: datetime,
        lifetime: timedelta = ROOT_LIFETIME,
        root: SigningAuthority | None = None,
    ) -> "Authority":
        """Make a root and both authorities in ``folder``; under a given ``root`` the authorities alone.

        The key of a given root is not kept.

        Raises:
            ConfigError: the folder holds authorities already.
        """
        kept = None
        if root is None:
            key = ec.generate_private_key(ec.SECP256R1())
            root, kept = SigningAuthority(root_certificate(key, Life(now, lifetime)), key), pem_key(key)
        made = {}
        for branch in Branch:
            own = ec.generate_private_key(ec.SECP256R1())
            signed = branch_certificate(branch, own.public_key(), root, Life(now, BRANCH_LIFETIME))
            made[branch] = SigningAuthority(signed, own)
        return cls.install(folder, root.certificate, made, root_key=kept)

    @classmethod
    def install(
        cls,
        folder: Path,
        root: x509.Certificate,
        branches: Mapping[Branch, SigningAuthority],
        *,
        root_key: bytes | None = None,
    ) -> "Authority":
        """Put authorities that are there into ``folder``: all files, or none.

        Raises:
            ConfigError: the folder holds authorities already, or these don't fit together (code ``pki``).
        """
        if cls.exists(folder):
            raise ConfigError(
                f"{folder} holds certificate authorities already: use them, or name another folder"
            )
        draft = private_folder(private_folder(folder) / f".{CA_FOLDER}.new")
        for branch, own in branches.items():
            write_private(draft / f"{branch}.pem", pem(own.certificate))
            write_private(draft / f"{branch}-anchor.pem", pem(anchor_certificate(branch, own)))
            write_private(draft / f"{branch}.key", pem_key(own.key))
        if root_key is not None:
            write_private(draft / f"{ROOT}.key", root_key)
        write_private(draft / f"{ROOT}.pem", pem(root))
        _load(draft)
        draft.rename(folder / CA_FOLDER)
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> "Authority":
        """Read the authorities of ``folder``.

        Raises:
            ConfigError: files are missing, damaged, or don't belong together (code ``pki``).
        """
        root, issuers = _load(folder / CA_FOLDER)
        return cls(folder, root, issuers)

    def trusted_by(self, principal: Principal) -> bytes:
        """Return the certificate that a holder trusts, as PEM.

        The platform's own parts speak with one another alone. Who is outside pins the root, which outlives the
        authority that certifies the servers.
        """
        if principal.role in OUTSIDE_ROLES:
            return pem(self.root)
        return pem(self.issuers[Branch.PLATFORM].anchor)

    def sign(
        self,
        principal: Principal,
        request: bytes,
        *,
        now: datetime,
        lifetime: timedelta = LEAF_LIFETIME,
        hosts: Iterable[str] = (),
    ) -> bytes:
        """Return a certificate of ``principal`` for the key of a PEM request, followed by its authority's, as PEM.

        Nothing else that the request asks for counts.

        Raises:
            ConfigError: the request is none, or its key is weak or not its sender's (code ``csr``); the authority's
                key is not here (code ``pki``).
        """
        return self._certify(principal, requested_key(request), Life(now, lifetime), hosts)

    def issue(
        self,
        principal: Principal,
        folder: Path,
        *,
        now: datetime,
        lifetime: timedelta = LEAF_LIFETIME,
        hosts: Iterable[str] = (),
    ) -> CertificateFiles:
        """Make a key and certificate for ``principal`` in ``folder``, replacing what was there.

        A server's certificate is good for ``hosts`` (names or addresses) beside the loopback ones.

        Raises:
            ConfigError: the authority's key is not here (code ``pki``).
        """
        key = ec.generate_private_key(ec.SECP256R1())
        chain = self._certify(principal, key.public_key(), Life(now, lifetime), hosts)
        private_folder(folder)
        files = CertificateFiles.of(folder)
        write_private(files.ca, self.trusted_by(principal))
        if principal.role in _HEARS_OUTSIDE:
            write_private(files.clients, pem(self.root))
        write_private(files.key, pem_key(key))
        write_private(files.certificate, chain)
        return files

    def is_fresh(
        self, principal: Principal, files: CertificateFiles, *, now: datetime, hosts: Iterable[str] = ()
    ) -> bool:
        """Whether files are whole, of these authorities, for these hosts, with more than a third of their life left."""
        try:
            held = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            key = serialization.load_pem_private_key(files.key.read_bytes(), None)
            trusted = files.ca.read_bytes()
            held.verify_directly_issued_by(self.issuers[branch_of(principal.role)].certificate)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        if key.public_key() != held.public_key() or trusted != self.trusted_by(principal):
            return False
        if principal.role.is_server and not set(server_names(hosts)) <= set(_names(held)):
            return False
        return is_young(held, now)

    def _certify(
        self, principal: Principal, key: ec.EllipticCurvePublicKey, life: Life, hosts: Iterable[str]
    ) -> bytes:
        branch = branch_of(principal.role)
        issuer = self.issuers[branch]
        if issuer.key is None:
            raise ConfigError(
                f"the key of the authority for {branch} is not in {self.folder / CA_FOLDER}: do this where it is",
                code="pki",
            )
        signer = SigningAuthority(issuer.certificate, issuer.key)
        made = leaf_certificate(principal, key, signer, life, hosts)
        enter(self.folder, IssuedCertificate.of(principal, made))
        return pem(made) + pem(issuer.certificate)


def is_young(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether a certificate is valid and more than a third of its life is left."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begins <= now < ends - (ends - begins) / 3


def _names(certificate: x509.Certificate) -> Iterable[x509.GeneralName]:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()


def _load(folder: Path) -> tuple[x509.Certificate, dict[Branch, Issuer]]:
    try:
        root = x509.load_pem_x509_certificate((folder / f"{ROOT}.pem").read_bytes())
        return root, {branch: _issuer(folder, branch, root) for branch in Branch}
    except (OSError, ValueError, TypeError, InvalidSignature) as error:
        reason = str(error) or "a signature is wrong"
        raise ConfigError(f"no usable certificate authority in {folder}: {reason}", code="pki") from error


def _issuer(folder: Path, branch: Branch, root: x509.Certificate) -> Issuer:
    certificate = x509.load_pem_x509_certificate((folder / f"{branch}.pem").read_bytes())
    anchor = x509.load_pem_x509_certificate((folder / f"{branch}-anchor.pem").read_bytes())
    certificate.verify_directly_issued_by(root)
    if (anchor.subject, anchor.public_key()) != (certificate.subject, certificate.public_key()):
        raise ValueError(f"{branch}-anchor.pem is not the twin of {branch}.pem")
    key_file = folder / f"{branch}.key"
    if not key_file.exists():
        return Issuer(certificate, anchor, None)
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError(f"{branch}.key is not the key of {branch}.pem")
    return Issuer(certificate, anchor, key)
