"""``bkdms pki create``, ``sign``, ``renew``, ``revoke``, ``list`` on folders where nothing runs."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ops.tls.authority import LEAF_LIFETIME, Authority
from ops.tls.holders import Holders
from ops.tls.principal import Principal, Role
from ops.tls.profile import Branch, Life, SigningAuthority, branch_certificate, root_certificate
from ops.tls.request import new_request, pem, pem_key
from pipeline.apps.cli.pki_authority import ca_keys
from tests.support import command_line
from tests.support.clean_env import clean_env

__all__ = ["clean_env"]
NOW = datetime.now(UTC)
YEAR = timedelta(days=365)


def run(*arguments: str | Path) -> int:
    """Run ``bkdms pki``; returns its exit code."""
    return command_line.run("pki", *arguments)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def opened() -> Authority:
    """The authorities of the folder ``pki``, whose keys are sealed."""
    return Authority.load(Path("pki"), ca_keys(Path("pki")))


def made_root(curve: ec.EllipticCurve | None = None) -> SigningAuthority:
    key = ec.generate_private_key(curve or ec.SECP384R1())
    return SigningAuthority(root_certificate(key, Life(NOW, YEAR)), key)


def write(name: str, own: SigningAuthority) -> tuple[Path, Path]:
    files = Path(f"{name}.pem"), Path(f"{name}.key")
    files[0].write_bytes(pem(own.certificate))
    files[1].write_bytes(pem_key(own.key))
    return files


def made_branch(branch: Branch, root: SigningAuthority) -> SigningAuthority:
    key = ec.generate_private_key(ec.SECP256R1())
    return SigningAuthority(branch_certificate(branch, key.public_key(), root, Life(NOW, YEAR)), key)


def _same(moment: datetime) -> datetime:
    return moment


class TestCreate:
    """Authorities of one's own, under a root that is there, or brought along."""

    def test_makes_a_root_whose_key_may_be_carried_off(
        self, clean_env: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("create", "--authority", "pki") == 0
        assert "carry pki/ca/root.key off" in said(capsys)
        assert opened().root.subject.rfc4514_string() == "CN=bkdms root"
        assert run("create", "--authority", "pki") == 2
        assert "holds certificate authorities already" in said(capsys)

    def test_makes_authorities_under_a_root_that_is_there_and_keeps_no_key_of_it(
        self, clean_env: Path
    ) -> None:
        root = made_root()
        certificate, key = write("root", root)
        assert run("create", "--authority", "pki", "--root", certificate, "--root-key", key) == 0
        assert opened().root == root.certificate
        assert not list(Path("pki").rglob("root.key"))

    def test_uses_authorities_that_are_there(self, clean_env: Path) -> None:
        root = made_root()
        arguments: list[str | Path] = ["--root", write("root", root)[0]]
        own = {branch: made_branch(branch, root) for branch in Branch}
        for branch, one in own.items():
            certificate, key = write(branch, one)
            arguments += [f"--{branch}", certificate, f"--{branch}-key", key]
        assert run("create", "--authority", "pki", *arguments) == 0
        held = opened()
        assert {b: i.certificate for b, i in held.issuers.items()} == {
            b: o.certificate for b, o in own.items()
        }

    def test_refuses_authorities_of_another_root(
        self, clean_env: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments: list[str | Path] = ["--root", write("root", made_root())[0]]
        for branch in Branch:
            certificate, key = write(branch, made_branch(branch, made_root()))
            arguments += [f"--{branch}", certificate, f"--{branch}-key", key]
        assert run("create", "--authority", "pki", *arguments) == 2
        assert "the root did not certify" in said(capsys)
        assert not Path("pki").exists()

    def test_refuses_a_root_that_may_have_no_authority_beneath_it(
        self, clean_env: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        files = write("short", made_branch(Branch.PLATFORM, made_root()))
        assert run("create", "--authority", "pki", "--root", files[0], "--root-key", files[1]) == 2
        assert "allows 0 authorities beneath it" in said(capsys)

    def test_refuses_a_key_that_is_another_s_or_weak(
        self, clean_env: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        certificate, _ = write("root", made_root())
        _, other = write("other", made_root())
        assert run("create", "--authority", "pki", "--root", certificate, "--root-key", other) == 2
        assert "is not the key of" in said(capsys)
        weak, weak_key = write("weak", made_root(ec.SECP192R1()))
        assert run("create", "--authority", "pki", "--root", weak, "--root-key", weak_key) == 2
        assert "not on P-256 or a larger curve" in said(capsys)

    def test_refuses_half_of_what_it_needs(self, clean_env: Path, capsys: pytest.CaptureFixture[str]) -> None:
        certificate, _ = write("root", made_root())
        assert run("create", "--authority", "pki", "--root", certificate) == 2
        assert "give --root with --root-key" in said(capsys)


class TestSign:
    """A certificate for a request."""

    @pytest.fixture(autouse=True)
    def authority(self, clean_env: Path) -> Authority:
        Path("site.csr").write_bytes(new_request()[1])
        return Authority.create(Path("pki"), now=NOW)

    def test_certifies_whom_the_operator_names_and_prints_whom_to_trust(
        self, authority: Authority, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (
            run("sign", "site.csr", "site:bridge", "-o", "site.pem", "--authority", "pki", "--days", "7") == 0
        )
        assert capsys.readouterr().out.encode() == pem(authority.root)
        own, above = x509.load_pem_x509_certificates(Path("site.pem").read_bytes())
        assert own.subject.rfc4514_string() == "CN=site:bridge,OU=site"
        own.verify_directly_issued_by(above)
        assert own.not_valid_after_utc - NOW < timedelta(days=8)

    @pytest.mark.parametrize("name", ["bridge", "sites:bridge", "site:a b", "site:"])
    def test_refuses_what_is_no_principal(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("sign", "site.csr", name, "-o", "site.pem", "--authority", "pki") == 2
        assert "is no ROLE:NAME" in said(capsys)

    def test_refuses_a_revoked_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("revoke", "site:bridge", "--authority", "pki", "--reason", "lost") == 0
        assert run("sign", "site.csr", "site:bridge", "-o", "site.pem", "--authority", "pki") == 2
        assert "choose another name" in said(capsys)
        assert not Path("site.pem").exists()


class TestHeld:
    """What a data folder holds."""

    def test_renew_makes_anew_what_is_old(self, clean_env: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for moment, name in ((NOW - LEAF_LIFETIME * 0.9, "old"), (NOW, "new")):
            Holders(Path("data"), partial(_same, moment)).issue(Principal(Role.NODE, name))
        assert run("renew", "--data-dir", "data", "--json") == 0
        assert json.loads(capsys.readouterr().out) == ["node:old"]
        assert run("renew", "--data-dir", "data", "--json", "--all") == 0
        assert json.loads(capsys.readouterr().out) == ["node:new", "node:old"]

    def test_lifetimes_come_from_settings(
        self, clean_env: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("BKDMS_PKI__PART_DAYS", "3")
        Holders(Path("data"), lambda: NOW).issue(Principal(Role.NODE, "n"))
        run("renew", "--data-dir", "data", "--all")
        held = Path("data/pki/node/n/certificate.pem").read_bytes()
        assert x509.load_pem_x509_certificate(held).not_valid_after_utc - NOW < timedelta(days=4)

    def test_list_shows_who_is_good_expired_and_revoked(
        self, clean_env: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for moment, name in ((NOW - 2 * LEAF_LIFETIME, "old"), (NOW, "good"), (NOW, "gone")):
            Holders(Path("data"), partial(_same, moment)).issue(Principal(Role.NODE, name))
        assert run("revoke", "node:gone", "--data-dir", "data", "--reason", "[bold]lost\x1b[2J") == 0
        capsys.readouterr()
        assert run("list", "--data-dir", "data", "--json") == 0
        found = {one["principal"]: one["state"].split()[0] for one in json.loads(capsys.readouterr().out)}
        assert found == {"node:old": "expired", "node:good": "good", "node:gone": "revoked"}
        assert run("list", "--data-dir", "data") == 0
        shown = capsys.readouterr().out
        assert "[bold]" in shown
        assert "\x1b[2J" not in shown

    def test_a_folder_without_authorities_is_said(
        self, clean_env: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for command in (("renew",), ("revoke", "site:a")):
            assert run(*command, "--data-dir", "none") == 2
            assert "holds no certificate authorities" in said(capsys)
        assert not Path("none").exists()

    def test_an_administrator_is_not_revoked_in_appearance(
        self, clean_env: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Authority.create(Path("data/pki"), now=NOW)
        assert run("revoke", "admin:local", "--data-dir", "data") == 2
        assert "can't be taken back alone" in said(capsys)
