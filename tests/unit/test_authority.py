"""The certificate authority of the transport."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from ops.tls.authority import LEAF_LIFETIME, Authority, CertificateFiles, is_fresh
from ops.tls.principal import MAX_NAME_CHARACTERS, Principal, Role
from pipeline.core.errors import ConfigError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE = Principal(Role.SITE, "mn-387")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A new root."""
    return Authority.create(tmp_path / "ca", now=NOW)


def usages(files: CertificateFiles) -> list[x509.ObjectIdentifier]:
    """What a certificate may be used for."""
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_the_subject_carries_role_and_name(authority: Authority, tmp_path: Path) -> None:
    """CN is role:name, OU is the role, in the order that gives CN first when printed."""
    files = authority.issue(SITE, tmp_path / "s", now=NOW)
    subject = x509.load_pem_x509_certificate(files.certificate.read_bytes()).subject
    assert subject.rfc4514_string() == "CN=site:mn-387,OU=site"


def test_a_client_cannot_pose_as_a_server(authority: Authority, tmp_path: Path) -> None:
    """Only brokers, Redis and the API get serverAuth."""
    site = authority.issue(SITE, tmp_path / "s", now=NOW)
    broker = authority.issue(Principal(Role.BROKER, "1"), tmp_path / "b", now=NOW)
    assert usages(site) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert set(usages(broker)) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def test_a_certificate_is_signed_by_the_root(authority: Authority, tmp_path: Path) -> None:
    """The issuer's key verifies the certificate."""
    files = authority.issue(SITE, tmp_path / "s", now=NOW)
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    leaf.verify_directly_issued_by(authority.certificate)


def test_keys_are_pkcs8_and_private(authority: Authority, tmp_path: Path) -> None:
    """Kafka's PEM store takes PKCS#8 only; nobody else may read the file or its folder."""
    files = authority.issue(SITE, tmp_path / "s", now=NOW)
    assert files.key.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    serialization.load_pem_private_key(files.key.read_bytes(), None)
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert files.key.parent.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_loaded_root_issues_as_the_created_one(authority: Authority, tmp_path: Path) -> None:
    """What was written is the same authority."""
    loaded = Authority.load(tmp_path / "ca")
    files = loaded.issue(SITE, tmp_path / "s", now=NOW)
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    leaf.verify_directly_issued_by(authority.certificate)


def test_a_root_is_never_overwritten(authority: Authority) -> None:
    """Making a root where one is would orphan every certificate."""
    with pytest.raises(ConfigError, match="holds a certificate authority already"):
        Authority.create(authority.certificate_file.parent, now=NOW)


def test_an_empty_folder_is_no_authority(tmp_path: Path) -> None:
    """Loading names the folder."""
    with pytest.raises(ConfigError, match=str(tmp_path)):
        Authority.load(tmp_path)


@pytest.mark.parametrize(
    ("age", "fresh"),
    [
        (timedelta(0), True),
        (LEAF_LIFETIME * 0.6, True),
        (LEAF_LIFETIME * 0.7, False),
        (LEAF_LIFETIME * 2, False),
    ],
)
def test_freshness_ends_with_two_thirds_of_the_life(
    authority: Authority, tmp_path: Path, age: timedelta, fresh: bool
) -> None:
    """Certificates are renewed long before they end."""
    files = authority.issue(SITE, tmp_path / "s", now=NOW)
    assert is_fresh(files, now=NOW + age) is fresh


def test_a_half_written_pair_is_not_fresh(authority: Authority, tmp_path: Path) -> None:
    """A key that does not belong to the certificate is replaced, not used."""
    first = authority.issue(SITE, tmp_path / "s", now=NOW)
    key = first.key.read_bytes()
    authority.issue(SITE, tmp_path / "s", now=NOW)
    first.key.write_bytes(key)
    assert not is_fresh(first, now=NOW)


@pytest.mark.parametrize(
    "name", ["", "a,b", "a=b", "a/b", "..", "-a", "a b", "ä", "x" * (MAX_NAME_CHARACTERS + 1)]
)
def test_names_that_need_escaping_are_refused(name: str) -> None:
    """A name can't add to the subject, leave the folder or outgrow the common name."""
    with pytest.raises(ValueError, match="principal name"):
        Principal(Role.SITE, name)


def test_the_longest_name_of_the_longest_role_fits(authority: Authority, tmp_path: Path) -> None:
    """The limit on names leaves room for every role within 64 characters."""
    longest = max(Role, key=lambda role: len(role.value))
    authority.issue(Principal(longest, "x" * MAX_NAME_CHARACTERS), tmp_path / "l", now=NOW)
