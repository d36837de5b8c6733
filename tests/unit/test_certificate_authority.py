"""The certificate authorities: what they certify, and that nobody who asks can say what."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.access_table import ACCESS, Socket
from ops.tls.authority import LEAF_LIFETIME, Authority, CertificateFiles
from ops.tls.holders import Holders, Lifetimes
from ops.tls.principal import Principal, Role
from ops.tls.profile import Branch, branch_of
from ops.tls.register import entries
from ops.tls.request import new_request, pem
from ops.tls.revoked import REVOKED, Revocation, RevokedFile, add_revocation, read_revoked
from pipeline.core.errors import ConfigError
from tests.support.handshake import RefusedError, shaken

NOW = datetime.now(UTC)
SITE = Principal(Role.SITE, "bridge-17")
NODE = Principal(Role.NODE, "node-1")
KAFKA = Principal(Role.BROKER, "1")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("pki"), now=NOW)


@pytest.fixture
def issued(authority: Authority, tmp_path: Path) -> Callable[[Principal], CertificateFiles]:
    return lambda principal: authority.issue(principal, tmp_path / str(principal), now=NOW)


def leaf(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


def usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def greedy_request(key: CertificateIssuerPrivateKeyTypes) -> x509.CertificateSigningRequest:
    """A request that asks to be the administrator, an authority and a server."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "admin"),
            x509.NameAttribute(NameOID.COMMON_NAME, "admin:local"),
        ]
    )
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def test_a_request_says_nothing_but_the_key(authority: Authority) -> None:
    """Subject, names, usages are of the principal that the operator named, whatever is asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = greedy_request(key).public_bytes(serialization.Encoding.PEM)
    made = leaf(authority.sign(SITE, request, now=NOW))
    assert made.subject.rfc4514_string() == "CN=site:bridge-17,OU=site"
    assert made.public_key() == key.public_key()
    assert usages(made) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_request_without_proof_of_possession_is_refused(authority: Authority) -> None:
    own = greedy_request(ec.generate_private_key(ec.SECP256R1())).public_bytes(serialization.Encoding.DER)
    # The last bytes are the signature's.
    forged = x509.load_der_x509_csr(own[:-1] + bytes([own[-1] ^ 1]))
    with pytest.raises(ConfigError, match="not signed by the key"):
        authority.sign(SITE, forged.public_bytes(serialization.Encoding.PEM), now=NOW)


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP192R1())],
    ids=["rsa", "p192"],
)
def test_a_key_off_p256_is_refused(
    authority: Authority, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    request = greedy_request(key).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(ConfigError, match="not on P-256"):
        authority.sign(SITE, request, now=NOW)


@pytest.mark.parametrize("text", [b"", b"x", b"\xff" * 20_000], ids=["empty", "no PEM", "long"])
def test_what_is_no_request_is_refused(authority: Authority, text: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        authority.sign(SITE, text, now=NOW)
    assert refused.value.code == "csr"


@pytest.mark.parametrize("role", Role)
def test_sites_and_parts_have_authorities_of_their_own(
    issued: Callable[[Principal], CertificateFiles], authority: Authority, role: Role
) -> None:
    made = leaf(issued(Principal(role, "x")).certificate.read_bytes())
    of_sites = role in {Role.SITE, Role.CLIENT}
    assert branch_of(role) is (Branch.SITES if of_sites else Branch.PLATFORM)
    made.verify_directly_issued_by(authority.issuers[branch_of(role)].certificate)
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usages(made)) == (role.is_server or role.page_host is not None)


@pytest.mark.parametrize("role", Role)
def test_a_worker_may_serve_its_page_and_pass_for_no_other_server(
    issued: Callable[[Principal], CertificateFiles], role: Role
) -> None:
    """What the table lets serve metrics, but for sites, whose certificates serve nothing."""
    serves = Socket.METRICS in ACCESS[role].listens and role is not Role.SITE
    assert (role.page_host is not None) == serves
    if serves:
        made = leaf(issued(Principal(role, "x")).certificate.read_bytes())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.DNSName(f"{role}.metrics.bkdms.internal")]


def test_a_certificate_that_lacks_the_name_of_its_page_is_old(authority: Authority, tmp_path: Path) -> None:
    """As workers had them before they served pages over TLS."""
    files = authority.issue(NODE, tmp_path / "n", now=NOW)
    assert authority.is_fresh(NODE, files, now=NOW)
    other = authority.issue(Principal(Role.REGISTRAR, "r"), tmp_path / "r", now=NOW)
    assert not authority.is_fresh(NODE, other, now=NOW)


def test_a_site_reaches_a_broker_and_the_broker_knows_it(
    issued: Callable[[Principal], CertificateFiles],
) -> None:
    """A listener for sites trusts the root; the site pins the root."""
    broker = issued(KAFKA)
    assert shaken(broker, issued(SITE), trust=broker.clients) == str(SITE)


def test_parts_reach_one_another(issued: Callable[[Principal], CertificateFiles]) -> None:
    assert shaken(issued(KAFKA), issued(NODE)) == str(NODE)


def test_a_site_is_unknown_where_parts_speak_with_one_another(
    issued: Callable[[Principal], CertificateFiles],
) -> None:
    """As at the controller listener, in Redis, in PostgreSQL."""
    with pytest.raises(RefusedError):
        shaken(issued(KAFKA), issued(SITE))


@pytest.mark.parametrize("asking", [NODE, SITE], ids=str)
def test_a_site_is_no_server(issued: Callable[[Principal], CertificateFiles], asking: Principal) -> None:
    site = issued(SITE)
    trust = issued(KAFKA).clients
    with pytest.raises(RefusedError):
        shaken(site, issued(asking), trust=trust)


def test_the_sites_key_makes_no_part_of_the_platform(authority: Authority, tmp_path: Path) -> None:
    """Whoever has it signs an administrator's certificate: listeners that trust the root refuse it."""
    sites = authority.issuers[Branch.SITES]
    assert sites.key is not None
    lying = replace(
        authority, current=replace(authority.current, issuers={**authority.issuers, Branch.PLATFORM: sites})
    )  # signs parts with the sites' key
    forged = lying.issue(Principal(Role.ADMIN, "local"), tmp_path / "forged", now=NOW)
    broker = authority.issue(KAFKA, tmp_path / "kafka", now=NOW)
    forged.ca.write_bytes(pem(authority.root))
    with pytest.raises(RefusedError):
        shaken(broker, forged, trust=broker.clients)
    site = authority.issue(SITE, tmp_path / "site", now=NOW)
    assert shaken(broker, site, trust=broker.clients) == str(SITE)


def test_the_root_signs_no_principal_below_an_authority(authority: Authority) -> None:
    """Lengths of path: the root has authorities under it, these have none."""
    lengths = [
        one.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        for one in (authority.root, *(issuer.certificate for issuer in authority.issuers.values()))
    ]
    assert lengths == [1, 0, 0]


def test_everything_works_without_the_root_s_key(tmp_path: Path) -> None:
    """It is carried off once both authorities are made."""
    Authority.create(tmp_path, now=NOW)
    (tmp_path / "ca" / "root.key").unlink()
    files = Authority.load(tmp_path).issue(NODE, tmp_path / "node", now=NOW)
    assert leaf(files.certificate.read_bytes()).subject.rfc4514_string() == "CN=node:node-1,OU=node"


def test_a_desk_with_the_sites_key_alone_certifies_sites_alone(tmp_path: Path) -> None:
    Authority.create(tmp_path, now=NOW)
    (tmp_path / "ca" / "platform.key").unlink()
    desk = Authority.load(tmp_path)
    assert desk.sign(SITE, new_request()[1], now=NOW)
    with pytest.raises(ConfigError, match="authority for platform is not in"):
        desk.sign(NODE, new_request()[1], now=NOW)


def test_keys_are_private(tmp_path: Path) -> None:
    files = Authority.create(tmp_path / "pki", now=NOW).issue(NODE, tmp_path / "node", now=NOW)
    held = [*(tmp_path / "pki").rglob("*"), *files.key.parent.iterdir()]
    assert len(held) > 8
    assert all(path.stat().st_mode & 0o077 == 0 for path in held)


@pytest.mark.parametrize("name", ["sites.pem", "platform.key", "root.pem", "platform-anchor.pem"])
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, name: str) -> None:
    for folder in ("a", "b"):
        Authority.create(tmp_path / folder, now=NOW)
    (tmp_path / "b" / "ca" / name).replace(tmp_path / "a" / "ca" / name)
    with pytest.raises(ConfigError, match="no usable certificate authority"):
        Authority.load(tmp_path / "a")


def test_a_certificate_ends_before_its_authority(authority: Authority) -> None:
    long = authority.sign(NODE, new_request()[1], now=NOW, lifetime=timedelta(days=9999))
    assert (
        leaf(long).not_valid_after_utc == authority.issuers[Branch.PLATFORM].certificate.not_valid_after_utc
    )


def test_every_certificate_is_in_the_register(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, now=NOW)
    made = [leaf(authority.sign(one, new_request()[1], now=NOW)) for one in (SITE, NODE)]
    found = list(entries(tmp_path))
    assert [one.principal for one in found] == [str(SITE), str(NODE)]
    assert [int(one.serial, 16) for one in found] == [one.serial_number for one in made]


class TestHolders:
    """Certificates of a data folder."""

    def test_what_is_fresh_stays_and_what_is_old_is_made_anew(self, tmp_path: Path) -> None:
        moments = [NOW]
        holders = Holders(tmp_path, lambda: moments[-1], Lifetimes(sites=LEAF_LIFETIME / 2))
        first = {one: holders.issue(one).certificate.read_bytes() for one in (SITE, NODE)}
        assert holders.renew() == []
        moments.append(NOW + LEAF_LIFETIME / 2)
        assert holders.renew() == [SITE]
        assert holders.files(SITE).certificate.read_bytes() != first[SITE]
        assert holders.files(NODE).certificate.read_bytes() == first[NODE]

    def test_certificates_of_another_authority_are_replaced(self, tmp_path: Path) -> None:
        foreign = Authority.create(tmp_path / "other", now=NOW)
        holders = Holders(tmp_path / "data", lambda: NOW)
        foreign.issue(NODE, holders.files(NODE).key.parent, now=NOW)
        assert holders.renew() == [NODE]

    def test_who_was_revoked_gets_no_certificate(self, tmp_path: Path) -> None:
        holders = Holders(tmp_path, lambda: NOW)
        holders.issue(NODE)
        add_revocation(tmp_path / "pki" / REVOKED, str(NODE), Revocation("2026-11-21T00:00:00Z", "lost"))
        assert holders.all() == []
        with pytest.raises(ConfigError, match="was revoked"):
            holders.issue(NODE)


class TestRevokedFile:
    """The list as servers ask it."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / REVOKED

    def test_without_a_file_nobody_is_revoked(self, file: Path) -> None:
        assert not RevokedFile(file).is_revoked(str(SITE), "ab")

    def test_a_change_counts_at_once(self, file: Path) -> None:
        asked = RevokedFile(file)
        assert not asked.is_revoked(str(SITE))
        add_revocation(file, str(SITE), Revocation("2026-11-21T00:00:00Z", "lost", ("ab",)))
        assert asked.is_revoked(str(SITE))
        assert asked.is_revoked("site:other", "0AB")
        assert not asked.is_revoked(str(NODE), "ac")

    def test_the_first_date_and_reason_stay(self, file: Path) -> None:
        first = Revocation("2026-11-21T00:00:00Z", "lost")
        assert add_revocation(file, str(SITE), first)
        assert not add_revocation(file, str(SITE), Revocation("2026-11-22T00:00:00Z", "again"))
        assert read_revoked(file) == {str(SITE): first}

    @pytest.mark.parametrize("text", ["", "[]", '{"site:a": 1}', "\xff"])
    def test_a_damaged_file_lets_nobody_back_in(self, file: Path, text: str) -> None:
        add_revocation(file, str(SITE), Revocation("2026-11-21T00:00:00Z", "lost"))
        asked = RevokedFile(file)
        file.write_text(text, "latin-1")
        assert asked.is_revoked(str(SITE))
        file.unlink()
        assert asked.is_revoked(str(SITE))

    def test_a_file_damaged_from_the_start_is_said(self, file: Path) -> None:
        file.write_text("{")
        with pytest.raises(ConfigError, match="is damaged"):
            RevokedFile(file)


def test_programs_written_in_go_can_check_the_platforms_servers(
    issued: Callable[[Principal], CertificateFiles],
) -> None:
    """Go's verifier gives up at a critical constraint on directory names; Prometheus and Grafana are written in Go."""
    files = issued(KAFKA)
    chain = x509.load_pem_x509_certificates(files.certificate.read_bytes() + files.ca.read_bytes())
    critical = {ext.oid for found in chain for ext in found.extensions if ext.critical}
    assert x509.NameConstraints.oid not in critical
