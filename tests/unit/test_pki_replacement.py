"""Replacing an authority: nobody who should be heard is refused meanwhile, and what is replaced counts no more."""

import json
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ops.replacement import finish, spread
from ops.tls.authority import LEAF_LIFETIME, ROOT_LIFETIME, Authority, CertificateFiles
from ops.tls.exchange import CA_FOLDER, LEAVING, NEXT, promote
from ops.tls.generation import PLAIN_CA_KEYS
from ops.tls.holders import Holders
from ops.tls.principal import Principal, Role
from ops.tls.profile import Branch, Life, SigningAuthority, root_certificate
from ops.tls.replacing import begin, end_trust, outstanding, put_in_force, replaced
from ops.tls.request import pem, pem_key
from pipeline.adapters.sealed_file import is_sealed
from pipeline.apps.cli import main
from pipeline.core.errors import ConfigError
from tests.support import keys
from tests.support.clean_env import clean_env
from tests.support.handshake import RefusedError, shaken

__all__ = ["clean_env"]
NOW = datetime.now(UTC)
BROKER, API, REDIS = Principal(Role.BROKER, "1"), Principal(Role.API, "api"), Principal(Role.REDIS, "1")
NODE, ADMIN = Principal(Role.NODE, "node-1"), Principal(Role.ADMIN, "local")
SITE = Principal(Role.SITE, "bridge-17")
BRANCHES = pytest.mark.parametrize("branch", Branch)


class Scene:
    """A data folder whose holders' files are kept as they were at each stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.holders = Holders(self.data, lambda: NOW)
        for principal in (BROKER, API, REDIS, NODE, ADMIN):
            self.holders.issue(principal)
        self.keep("before")

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    def keep(self, stage: str) -> None:
        """Remember every holder's files, and give a site a folder that it carries away."""
        copytree(self.pki, self.folder / stage)
        Authority.load(self.pki).issue(SITE, self.folder / stage / "site", now=NOW)

    def files(self, stage: str, principal: Principal) -> CertificateFiles:
        if principal == SITE:
            return CertificateFiles.of(self.folder / stage / "site")
        return CertificateFiles.of(self.folder / stage / principal.role.value / principal.name)

    def is_heard(self, server: tuple[str, Principal], client: tuple[str, Principal]) -> bool:
        """Whether a handshake of these two, each with the files of a stage, succeeds."""
        serving, asking = self.files(*server), self.files(*client)
        trust = serving.clients if serving.clients.exists() else serving.ca
        try:
            return shaken(serving, asking, trust=trust) == str(client[1])
        except RefusedError:
            return False


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def replaced_scene(scene: Scene, branch: Branch) -> Scene:
    """Keep the stages ``both``, ``shown`` (servers show the new ones) and ``after``."""
    begin(scene.pki, branch, keys=PLAIN_CA_KEYS, now=NOW)
    spread(scene.data, scene.holders)
    scene.keep("both")
    put_in_force(scene.pki, PLAIN_CA_KEYS)
    spread(scene.data, scene.holders)
    scene.keep("shown")
    end_trust(scene.pki, PLAIN_CA_KEYS)
    spread(scene.data, scene.holders)
    scene.keep("after")
    return scene


@BRANCHES
def test_parts_hear_one_another_at_every_step(scene: Scene, branch: Branch) -> None:
    """Servers have the files of a step before clients have: neither order of reloading refuses anybody."""
    replaced_scene(scene, branch)
    stages = ("before", "both", "shown", "after")
    pairs = [(now, then) for now, then in zip(stages[1:], stages, strict=False)] + [
        (one, one) for one in stages
    ]
    for server in (BROKER, API, REDIS):
        for client in (NODE, ADMIN):
            heard = {pair: scene.is_heard((pair[0], server), (pair[1], client)) for pair in pairs}
            assert all(heard.values()), (server, client, heard)


@BRANCHES
def test_a_site_is_heard_with_its_old_folder_until_the_end_and_with_the_new_one_from_the_beginning(
    scene: Scene, branch: Branch
) -> None:
    replaced_scene(scene, branch)
    for server in (BROKER, API):
        assert scene.is_heard(("both", server), ("before", SITE))
        assert all(scene.is_heard((stage, server), ("both", SITE)) for stage in ("both", "shown", "after"))
        assert scene.is_heard(("after", server), ("after", SITE))


@BRANCHES
def test_who_was_certified_before_is_refused_afterwards(scene: Scene, branch: Branch) -> None:
    """Though the old authorities' certificates have years to go: so has whoever knows their keys."""
    replaced_scene(scene, branch)
    assert not scene.is_heard(("after", BROKER), ("before", SITE))
    assert not scene.is_heard(("after", API), ("before", SITE))
    assert not scene.is_heard(("after", BROKER), ("before", NODE))


def test_a_stolen_platform_key_makes_no_part_and_no_server_afterwards(scene: Scene) -> None:
    replaced_scene(scene, Branch.PLATFORM)
    for server in (REDIS, BROKER):
        assert not scene.is_heard(("after", server), ("before", ADMIN))
        # With the trust that both sides have now, what the old key certified stands for no server either.
        assert not scene.is_heard(("before", server), ("after", NODE))


@BRANCHES
def test_the_authority_that_is_not_replaced_keeps_its_key(scene: Scene, branch: Branch) -> None:
    old = Authority.load(scene.pki)
    made = begin(scene.pki, branch, keys=PLAIN_CA_KEYS, now=NOW)
    assert replaced(made) == {branch}
    assert made.following is not None
    for other in set(Branch) - {branch}:
        assert (
            made.following.issuers[other].certificate.public_key()
            == old.issuers[other].certificate.public_key()
        )


def test_a_holder_that_runs_follows_a_replacement_by_another_program(scene: Scene) -> None:
    """What `bkdms up` does every hour neither takes anything back nor leaves anything out."""
    running = Holders(scene.data, lambda: NOW)
    begin(scene.pki, Branch.PLATFORM, keys=PLAIN_CA_KEYS, now=NOW)
    assert set(running.renew()) == {BROKER, API, REDIS, NODE, ADMIN}
    assert running.renew() == []
    finish(scene.data, scene.holders, PLAIN_CA_KEYS)
    assert running.renew() == []
    assert running.authority.following is None


def test_servers_are_told_before_any_client_changes(scene: Scene) -> None:
    begin(scene.pki, Branch.PLATFORM, keys=PLAIN_CA_KEYS, now=NOW)
    own, seen = scene.holders.files(NODE).certificate, list[bytes]()
    before = own.read_bytes()
    scene.holders.renew(tell=lambda _: seen.append(own.read_bytes()))
    assert seen == [before]
    assert own.read_bytes() != before


@pytest.mark.parametrize("stopped", ["aside", "in place"])
def test_an_interrupted_exchange_is_brought_to_its_end(
    scene: Scene, stopped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begin(scene.pki, Branch.SITES, keys=PLAIN_CA_KEYS, now=NOW)
    monkeypatch.setattr("ops.tls.exchange.settle", lambda _: None)
    promote(scene.pki)
    monkeypatch.undo()
    if stopped == "in place":
        (scene.pki / LEAVING / NEXT).rename(scene.pki / CA_FOLDER)
    assert Authority.exists(scene.pki)
    found = Authority.load(scene.pki)
    assert made.following is not None
    assert found.root == made.following.root
    assert found.former is not None
    assert not (scene.pki / LEAVING).exists()


def test_an_exchange_without_what_follows_destroys_nothing(scene: Scene) -> None:
    (scene.pki / CA_FOLDER).rename(scene.pki / LEAVING)
    with pytest.raises(ConfigError, match="from a backup"):
        Authority.load(scene.pki)
    assert (scene.pki / LEAVING / "sites.key").exists()


def test_certificates_elsewhere_are_outstanding_until_they_end_or_are_revoked(scene: Scene) -> None:
    authority = begin(scene.pki, Branch.SITES, keys=PLAIN_CA_KEYS, now=NOW)
    held = scene.holders.all()
    assert [one.principal for one in outstanding(authority, held, NOW)] == [str(SITE)]
    authority.issue(SITE, scene.folder / "renewed", now=NOW)
    assert len(list(outstanding(authority, held, NOW))) == 1
    assert list(outstanding(authority, held, NOW + LEAF_LIFETIME)) == []
    assert {one.principal for one in outstanding(authority, [], NOW)} == {str(SITE), str(NODE), str(ADMIN)}


class TestCommand:
    """``bkdms pki replace``, where nothing runs."""

    @pytest.fixture(autouse=True)
    def authority(self, clean_env: Path) -> None:
        assert run("create", "--data-dir", "data") == 0
        from pipeline.apps.cli.pki_authority import ca_keys  # noqa: PLC0415

        self.keys = ca_keys(Path("data/pki"))
        Holders(Path("data"), lambda: NOW, keys=self.keys).issue(NODE)

    def site(self) -> None:
        Authority.load(Path("data/pki"), self.keys).issue(SITE, Path("site"), now=NOW)

    def test_waits_for_certificates_elsewhere_unless_told_otherwise(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.site()
        capsys.readouterr()
        assert run("replace", "sites", "--data-dir", "data", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["outstanding"], told["is_finished"]) == (1, False)
        assert run("replace", "sites", "--data-dir", "data", "--finish") == 2
        assert str(SITE) in capsys.readouterr().err
        assert run("replace", "sites", "--data-dir", "data", "--finish", "--now") == 0
        assert Authority.load(Path("data/pki"), self.keys).following is None

    def test_refuses_to_finish_what_was_not_begun_or_the_other_one(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("replace", "platform", "--data-dir", "data", "--finish") == 2
        assert "no authority is being replaced" in said(capsys)
        assert run("replace", "platform", "--data-dir", "data") == 0
        assert run("replace", "platform", "--data-dir", "data") == 0
        assert run("replace", "sites", "--data-dir", "data") == 2
        assert "finish that first" in said(capsys)
        assert run("replace", "sites", "--data-dir", "data", "--finish") == 2

    def test_keys_stay_sealed_and_old_ones_go(self) -> None:
        old = Path("data/pki/ca/platform.key").read_bytes()
        assert run("replace", "platform", "--data-dir", "data") == 0
        assert run("replace", "platform", "--data-dir", "data", "--finish") == 0
        held = list(Path("data/pki").rglob("*.key"))
        assert len(held) == 3
        assert all(is_sealed(path.read_bytes()) for path in held)
        assert old not in [path.read_bytes() for path in held]

    def test_authorities_elsewhere_are_finished_in_two_steps(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Between them every server has to show its new certificate."""
        folder = Path("data/pki")
        assert run("replace", "sites", "--authority", folder) == 0
        assert run("replace", "sites", "--authority", folder, "--finish", "--now") == 0
        assert Authority.load(folder, self.keys).former is not None
        assert run("replace", "sites", "--authority", folder, "--finish") == 0
        assert Authority.load(folder, self.keys).former is None

    def test_a_root_of_one_s_own_is_asked_for_and_its_key_is_not_kept(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        root = SigningAuthority(root_certificate(key, Life(NOW, ROOT_LIFETIME)), key)
        Path("root.pem").write_bytes(pem(root.certificate))
        Path("root.key").write_bytes(pem_key(root.key))
        given = ("--root", "root.pem", "--root-key", "root.key")
        assert run("replace", "sites", "--data-dir", "data", *given) == 0
        made = Authority.load(Path("data/pki"), self.keys).following
        assert made is not None
        assert made.root == root.certificate
        assert not Path("data/pki/ca/next/root.key").exists()


def run(*arguments: str | Path) -> int:
    """Run ``bkdms pki``; returns its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["pki", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_sealed_keys_of_authorities_open_for_their_use_alone(tmp_path: Path) -> None:
    sealing = keys.key_files(tmp_path / "secrets")
    Authority.create(tmp_path / "pki", now=NOW, keys=sealing)
    folder = tmp_path / "pki" / "ca"
    assert Authority.load(tmp_path / "pki", sealing).issuers[Branch.SITES].key is not None
    (folder / "sites.key").write_bytes((folder / "platform.key").read_bytes())
    with pytest.raises(ConfigError, match="is no transport-sites key"):
        Authority.load(tmp_path / "pki", sealing)
