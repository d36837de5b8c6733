"""The certificate authority that the program makes for itself: one P-256 root, leaf certificates by role.

Owns keys and certificates of the transport. Keys that sign packets or blocks are another matter.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.files import private_folder, write_private
from ops.tls.principal import Principal
from pipeline.core.errors import ConfigError

ROOT_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=90)
# Clocks of two machines differ; a certificate begins a little before it is made.
BACKDATE = timedelta(minutes=5)
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Three PEM files: the root's certificate, the holder's certificate, the holder's PKCS#8 key."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A root key and certificate in a private folder."""

    certificate_file: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, folder: Path, *, now: datetime, lifetime: timedelta = ROOT_LIFETIME) -> "Authority":
        """Make a new root in ``folder``.

        Raises:
            ConfigError: the folder holds a root already.
        """
        if (folder / "ca.key").exists():
            raise ConfigError(
                f"{folder} holds a certificate authority already: load it, or name another folder"
            )
        private_folder(folder)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bkdms root")])
        certificate = (
            _builder(name, name, key.public_key(), now, lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(root=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(folder / "ca.pem", _pem(certificate))
        # The key last: a folder with a key is a whole authority.
        write_private(folder / "ca.key", _pem_key(key))
        return cls(folder / "ca.pem", certificate, key)

    @classmethod
    def load(cls, folder: Path) -> "Authority":
        """Read the root of ``folder``.

        Raises:
            ConfigError: the files are missing or damaged.
        """
        try:
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"no usable certificate authority in {folder}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ConfigError(f"{folder}: ca.key is not the key of ca.pem")
        return cls(folder / "ca.pem", certificate, key)

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
        """
        private_folder(folder)
        key = ec.generate_private_key(ec.SECP256R1())
        # Java prints the last attribute first, hence OU before CN gives "CN=role:name,OU=role".
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, principal.role.value),
                x509.NameAttribute(NameOID.COMMON_NAME, str(principal)),
            ]
        )
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            _builder(subject, self.certificate.subject, key.public_key(), now, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(root=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if principal.role.is_server:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(_server_names(hosts), critical=False)
        certificate = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(
            self.key, hashes.SHA256()
        )
        files = CertificateFiles(self.certificate_file, folder / "certificate.pem", folder / "key.pem")
        write_private(files.key, _pem_key(key))
        write_private(files.certificate, _pem(certificate))
        return files

    def issued(self, folder: Path) -> CertificateFiles:
        """The paths of a certificate that ``issue`` wrote to ``folder``; nothing is read."""
        return CertificateFiles(self.certificate_file, folder / "certificate.pem", folder / "key.pem")


def is_fresh(files: CertificateFiles, *, now: datetime) -> bool:
    """Whether key and certificate belong together and more than a third of the lifetime is left."""
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    except (OSError, ValueError):
        return False
    if key.public_key() != certificate.public_key():
        return False
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - lifetime / 3


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not root,
        key_cert_sign=root,
        crl_sign=root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def names_hosts(files: CertificateFiles, hosts: Iterable[str]) -> bool:
    """Whether a server's certificate is good for all of ``hosts`` and the loopback ones."""
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    return set(_server_names(hosts)) <= set(names)


def _server_names(hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_name(host) for host in dict.fromkeys([*LOOPBACK_HOSTS, *hosts])])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
