"""The certificate authorities of a deployment: a root and under it one for sites, one for the platform's own parts.

Owns keys and certificates of the transport. Keys that sign packets or blocks are another matter. While authorities are
replaced (``ops.tls.replacing``) there are two generations, and holders trust both: servers show certificates of the one
in force, which every client knows, and clients those of the next, which every server has been told of.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shutil import rmtree

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.files import private_folder, write_private
from ops.tls.exchange import CA_FOLDER, FORMER, LEAVING, NEXT, settle
from ops.tls.generation import PLAIN_CA_KEYS, CaKeys, Generation, Issuer, Trusted, write_generation
from ops.tls.principal import Principal, Role
from ops.tls.profile import (
    OUTSIDE_ROLES,
    Branch,
    Life,
    SigningAuthority,
    branch_certificate,
    branch_of,
    leaf_certificate,
    root_certificate,
    served_names,
)
from ops.tls.register import IssuedCertificate, enter
from ops.tls.request import pem, pem_key, requested_key
from pipeline.core.errors import ConfigError

ROOT_LIFETIME = timedelta(days=3650)
BRANCH_LIFETIME = timedelta(days=1825)
LEAF_LIFETIME = timedelta(days=30)
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
class Authority:
    """The authorities in a private folder; the root's key is not needed and may be elsewhere.

    ``following`` is the next generation while both are in use, ``former`` whom the one before trusted until every
    server shows its new certificate.
    """

    folder: Path
    current: Generation
    following: Generation | None = None
    former: Trusted | None = None

    @property
    def root(self) -> x509.Certificate:
        """The root in force."""
        return self.current.root

    @property
    def issuers(self) -> Mapping[Branch, Issuer]:
        """The authorities in force."""
        return self.current.issuers

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether ``folder`` holds authorities, whole or damaged."""
        return (folder / CA_FOLDER).exists() or (folder / LEAVING).exists()

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        now: datetime,
        lifetime: timedelta = ROOT_LIFETIME,
        root: SigningAuthority | None = None,
        keys: CaKeys = PLAIN_CA_KEYS,
    ) -> "Authority":
        """Make a root and both authorities in ``folder``; under a given ``root`` the authorities alone.

        The key of a given root is not kept.

        Raises:
            ConfigError: the folder holds authorities already.
        """
        kept = None
        if root is None:
            root = new_root(Life(now, lifetime))
            kept = root.key
        made = {branch: new_branch(branch, root, now) for branch in Branch}
        return cls.install(folder, root.certificate, made, root_key=kept, keys=keys)

    @classmethod
    def install(
        cls,
        folder: Path,
        root: x509.Certificate,
        branches: Mapping[Branch, SigningAuthority],
        *,
        root_key: ec.EllipticCurvePrivateKey | None = None,
        keys: CaKeys = PLAIN_CA_KEYS,
    ) -> "Authority":
        """Put authorities that are there into ``folder``: all files, or none.

        Raises:
            ConfigError: the folder holds authorities already, or these don't fit together (code ``pki``).
        """
        if cls.exists(folder):
            raise ConfigError(
                f"{folder} holds certificate authorities already: use them, or name another folder"
            )
        draft = private_folder(folder) / f".{CA_FOLDER}.new"
        rmtree(draft, ignore_errors=True)
        write_generation(private_folder(draft), root, branches, keys, root_key=root_key)
        Generation.load(draft, keys)
        draft.rename(folder / CA_FOLDER)
        return cls.load(folder, keys)

    @classmethod
    def load(cls, folder: Path, keys: CaKeys = PLAIN_CA_KEYS) -> "Authority":
        """Read the authorities of ``folder``; a replacement that was interrupted is brought on.

        Raises:
            ConfigError: files are missing, damaged, or don't belong together (code ``pki``).
        """
        settle(folder)
        place = folder / CA_FOLDER
        following = Generation.load(place / NEXT, keys) if (place / NEXT).exists() else None
        former = _trusted(place / FORMER) if (place / FORMER).exists() else None
        return cls(folder, Generation.load(place, keys), following, former)

    def trusted_by(self, principal: Principal) -> bytes:
        """Return the certificates that a holder trusts, as PEM: one, or two while authorities are replaced.

        The platform's own parts speak with one another alone. Who is outside pins the root, which outlives the
        authority that certifies the servers.
        """
        known = self._trusted_generations()
        outside = principal.role in OUTSIDE_ROLES
        return b"".join(dict.fromkeys(one.root if outside else one.parts for one in known))

    def clients_known_to(self, principal: Principal) -> bytes | None:
        """Return the roots whose clients a server hears, as PEM; None for who hears the platform's parts alone."""
        if principal.role not in _HEARS_OUTSIDE:
            return None
        return b"".join(dict.fromkeys(one.root for one in self._trusted_generations()))

    def issuer_of(self, principal: Principal) -> Issuer:
        """Return the authority that certifies a principal now."""
        by = self.following
        if by is None or principal.role.is_server:
            by = self.current
        return by.issuers[branch_of(principal.role)]

    def _trusted_generations(self) -> list[Trusted]:
        following = [] if self.following is None else [self.following.trusted]
        return [self.current.trusted, *following, *([] if self.former is None else [self.former])]

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
        clients = self.clients_known_to(principal)
        if clients is not None:
            write_private(files.clients, clients)
        write_private(files.key, pem_key(key))
        write_private(files.certificate, chain)
        return files

    def is_fresh(
        self, principal: Principal, files: CertificateFiles, *, now: datetime, hosts: Iterable[str] = ()
    ) -> bool:
        """Whether files are whole, of these authorities, for these hosts, with more than a third of their life left."""
        try:
            held, *chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
            key = serialization.load_pem_private_key(files.key.read_bytes(), None)
            trusted, clients = files.ca.read_bytes(), self.clients_known_to(principal)
            issuer = self.issuer_of(principal).certificate
            held.verify_directly_issued_by(issuer)
            if clients is not None and files.clients.read_bytes() != clients:
                return False
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        # One key may be certified by two roots: the certificate counts, not the key alone.
        if chain != [issuer] or key.public_key() != held.public_key():
            return False
        if trusted != self.trusted_by(principal):
            return False
        if not set(served_names(principal.role, hosts)) <= set(_names(held)):
            return False
        return is_young(held, now)

    def _certify(
        self, principal: Principal, key: ec.EllipticCurvePublicKey, life: Life, hosts: Iterable[str]
    ) -> bytes:
        issuer = self.issuer_of(principal)
        if issuer.key is None:
            raise ConfigError(
                f"the key of the authority for {branch_of(principal.role)} is not in {self.folder / CA_FOLDER}: do "
                "this where it is",
                code="pki",
            )
        signer = SigningAuthority(issuer.certificate, issuer.key)
        made = leaf_certificate(principal, key, signer, life, hosts)
        enter(self.folder, IssuedCertificate.of(principal, made, issuer.certificate))
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


def new_root(life: Life) -> SigningAuthority:
    """Make a root with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return SigningAuthority(root_certificate(key, life), key)


def new_branch(branch: Branch, root: SigningAuthority, now: datetime) -> SigningAuthority:
    """Make an authority with its key under a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    return SigningAuthority(
        branch_certificate(branch, key.public_key(), root, Life(now, BRANCH_LIFETIME)), key
    )


def _trusted(folder: Path) -> Trusted:
    try:
        return Trusted((folder / "root.pem").read_bytes(), (folder / "platform-anchor.pem").read_bytes())
    except OSError as error:
        raise ConfigError(f"no usable certificate authority in {folder}: {error}", code="pki") from error
