"""What the authorities' certificates say: pure builders, one for each kind.

Nothing but a public key ever comes from who asks: subject, names, usages, length of life are the authority's alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.tls.principal import Principal, Role

# Clocks of two machines differ; a certificate begins a little before it is made.
BACKDATE = timedelta(minutes=5)
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
ROOT_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bkdms root")])


class Branch(StrEnum):
    """The two authorities under the root: one for those outside the platform, one for the platform's own parts."""

    SITES = "sites"
    PLATFORM = "platform"

    @property
    def subject(self) -> x509.Name:
        """Name of the authority itself."""
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"bkdms {self.value}")])


OUTSIDE_ROLES = frozenset({Role.SITE, Role.CLIENT})
"""Roles whose programs run on machines of others."""


def branch_of(role: Role) -> Branch:
    """Return which authority certifies a role."""
    return Branch.SITES if role in OUTSIDE_ROLES else Branch.PLATFORM


@dataclass(frozen=True, slots=True)
class SigningAuthority:
    """An authority that signs: its certificate and the key to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Life:
    """When a certificate is made, and how long it is meant to last."""

    now: datetime
    length: timedelta

    def within(self, certificate: x509.Certificate) -> "Life":
        """The same, but ended with the certificate above it at the latest."""
        return Life(self.now, min(self.length, certificate.not_valid_after_utc - self.now))


def root_certificate(key: ec.EllipticCurvePrivateKey, life: Life) -> x509.Certificate:
    """A self-signed root that has authorities under it and no other certificates (RFC 5280 4.2.1.9: length 1)."""
    builder = _builder(ROOT_NAME, key.public_key(), life, is_authority=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    return _signed(builder, ROOT_NAME, key)


def branch_certificate(
    branch: Branch, public_key: ec.EllipticCurvePublicKey, root: SigningAuthority, life: Life
) -> x509.Certificate:
    """The certificate of ``branch`` under a root; it ends with the root at the latest."""
    builder = _branch(branch.subject, public_key, life.within(root.certificate), branch)
    return _signed(builder, root.certificate.subject, root.key)


def anchor_certificate(branch: Branch, own: SigningAuthority) -> x509.Certificate:
    """A self-signed twin of a branch's certificate: name, key, life are the same.

    Who trusts the twin trusts this branch and not the other. OpenSSL takes no certificate that is signed by another
    for the end of a chain unless the program says so, and Redis and PostgreSQL don't.
    """
    begins = own.certificate.not_valid_before_utc + BACKDATE
    life = Life(begins, own.certificate.not_valid_after_utc - begins)
    name = own.certificate.subject
    return _signed(_branch(name, own.key.public_key(), life, branch), name, own.key)


def leaf_certificate(
    principal: Principal,
    public_key: ec.EllipticCurvePublicKey,
    issuer: SigningAuthority,
    life: Life,
    hosts: Iterable[str] = (),
) -> x509.Certificate:
    """The certificate of a principal. A server's is good for ``hosts`` beside the loopback ones, a worker's for its
    page alone, others for no host.
    """
    # Java prints the last attribute first, hence OU before CN gives "CN=role:name,OU=role".
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, principal.role.value),
            x509.NameAttribute(NameOID.COMMON_NAME, str(principal)),
        ]
    )
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(subject, public_key, life.within(issuer.certificate), is_authority=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if names := served_names(principal.role, hosts):
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return _signed(builder, issuer.certificate.subject, issuer.key)


def served_names(role: Role, hosts: Iterable[str]) -> list[x509.GeneralName]:
    """The names that a certificate of ``role`` is good for as a server's; none for clients."""
    if role.is_server:
        return [_name(host) for host in dict.fromkeys([*LOOPBACK_HOSTS, *hosts])]
    return [] if role.page_host is None else [x509.DNSName(role.page_host)]


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _branch(
    subject: x509.Name, public_key: ec.EllipticCurvePublicKey, life: Life, branch: Branch
) -> x509.CertificateBuilder:
    builder = _builder(subject, public_key, life, is_authority=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    for extension, is_critical in _limits(branch):
        builder = builder.add_extension(extension, critical=is_critical)
    return builder


def _limits(branch: Branch) -> list[tuple[x509.ExtensionType, bool]]:
    """What a branch may certify: whoever has the sites' key can make neither a server nor a part of the platform."""
    outside = [
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value)]))
        for role in sorted(OUTSIDE_ROLES)
    ]
    if branch is Branch.SITES:
        return [
            (x509.NameConstraints(permitted_subtrees=outside, excluded_subtrees=None), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        ]
    # Go's verifier refuses critical constraints on directory names, and Prometheus and Grafana are written in Go.
    both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return [
        (x509.NameConstraints(permitted_subtrees=None, excluded_subtrees=outside), False),
        (x509.ExtendedKeyUsage(both), False),
    ]


def _builder(
    subject: x509.Name, public_key: ec.EllipticCurvePublicKey, life: Life, *, is_authority: bool
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(life.now - BACKDATE)
        .not_valid_after(life.now + life.length)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_key_usage(is_authority=is_authority), critical=True)
    )


def _signed(
    builder: x509.CertificateBuilder, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.issuer_name(issuer).add_extension(signer, critical=False)
    return builder.sign(key, hashes.SHA256())


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
