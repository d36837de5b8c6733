"""``bkdms prove`` and ``check-proof`` as people use them: from a folder, over HTTP, with records disclosed."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.tls.authority import Authority
from ops.tls.principal import Principal, Role
from pipeline.adapters.keystore import SealingKeyFolder
from pipeline.adapters.tls import TlsFiles, server_context
from pipeline.core.policy_file import policy_text
from tests.support.api import ApiCase
from tests.support.chain import Chain
from tests.support.clean_env import clean_env
from tests.support.command_line import run
from tests.support.proofs import ExportedChain, export_chain
from tests.unit.test_proof_vectors import PROGRAM
from tests.unit.test_serve import served

__all__ = ["clean_env"]

PRINTED_VALUE = "LOCAL:TRAFFIC_SPEED = 0.07 HM"


@dataclass
class Desk:
    """A folder with what a user of the commands has, and the exported chain."""

    exported: ExportedChain
    folder: Path

    def run(self, *arguments: object) -> int:
        """Run bkdms in this process and return its exit code."""
        return run(*arguments)

    def prove(self, *more: object, height: int = 4, entry: int = 450, tiles: object = None) -> int:
        """Prove a packet, of five records unless told otherwise, into ``file``."""
        code = self.exported.code(height, entry)
        source = ("--tiles", tiles or self.exported.folder)
        return self.run(
            "prove", code, "-o", self.file, "--genesis", self.folder / "genesis.json", *source, *more
        )

    def check(self, *more: object) -> int:
        """Check ``file``."""
        return self.run("check-proof", self.file, "--policy", self.folder / "policy.txt", *more)

    def second_checker(self) -> str:
        """Return what the auditor's own program prints."""
        arguments = [
            sys.executable,
            str(PROGRAM),
            str(self.file),
            "--policy",
            str(self.folder / "policy.txt"),
        ]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def file(self) -> Path:
        """Where the proof is."""
        return self.folder / "value.tlog-proof"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedChain:
    return export_chain(tmp_path_factory.mktemp("proofs"))


@pytest.fixture
def desk(exported: ExportedChain, clean_env: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    tmp_path = clean_env
    keys = tmp_path / "keys"
    SealingKeyFolder(keys).add(exported.first.platform_key)
    monkeypatch.setenv("BKDMS_PLATFORM__KEYS_DIR", str(keys))
    (tmp_path / "genesis.json").write_bytes(exported.world.genesis.raw)
    (tmp_path / "policy.txt").write_text(policy_text(exported.world.genesis))
    return Desk(exported, tmp_path)


def test_a_proof_made_from_a_folder_is_good_for_both_checkers(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.prove() == 0
    assert desk.check() == 0
    shown = capsys.readouterr()
    assert f"good            {desk.exported.code(4, 450)}" in shown.out
    assert "note: on the word of the cosigners:" in shown.err
    assert "LOCAL:TRAFFIC_SPEED" not in shown.out
    assert "packet 302: entry 450 of block 4" in desk.second_checker()


def test_disclosed_records_show_their_values_and_no_others(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.prove("--disclose", 2, "--disclose", 2) == 0
    capsys.readouterr()
    assert desk.check("--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert [(record["index"], record["values"][0]["exact"]) for record in facts["disclosed"]] == [(2, "0.07")]
    assert desk.check() == 0
    assert PRINTED_VALUE in capsys.readouterr().out
    assert "'unscaled': 7" in desk.second_checker()


def test_a_damaged_proof_is_named_as_such(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.prove() == 0
    desk.file.write_bytes(desk.file.read_bytes()[:-2] + b"A\n")
    capsys.readouterr()
    assert desk.check() == 1
    assert capsys.readouterr().out.startswith("BAD  policy: ")
    assert desk.check("--json") == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "policy"


def test_a_place_without_a_packet_or_another_chain_is_told(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.prove(height=1, entry=0) == 1
    assert "holds a control record" in capsys.readouterr().err
    assert desk.prove(height=99) == 1
    assert "nothing is committed" in capsys.readouterr().err
    assert not desk.file.exists()


def test_user_mistakes_are_told_in_a_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BKDMS_GENESIS", str(desk.folder / "genesis.json"))
    code = desk.exported.code(4, 450)
    mistakes = [
        (("prove", f"{code}X", "--tiles", desk.exported.folder), "typing error"),
        (("prove", code), "where is the exported log?"),
        (("prove", code, "--tiles", desk.folder / "nowhere"), "there is no folder"),
        (("prove", code, "--tiles", desk.exported.folder, "--disclose", 5), "records 0 to 4"),
        (("check-proof", desk.folder / "none", "--policy", desk.folder / "policy.txt"), "No such file"),
        (("check-proof", desk.folder / "genesis.json", "--policy", desk.folder / "genesis.json"), "line 1"),
    ]
    for arguments, text in mistakes:
        assert desk.run(*arguments) == 2
        told = capsys.readouterr().err
        assert text in told
        assert len([line for line in told.splitlines() if "warning: key file" not in line]) == 1


def test_records_are_not_disclosed_without_the_platforms_key(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.prove("--disclose", 0, entry=0) == 2
    assert "opens this packet" in capsys.readouterr().err
    assert not desk.file.exists()


def test_a_damaged_log_gives_no_file(desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").mkdir()
    assert desk.prove(tiles=tmp_path / "log") == 1
    assert "checkpoint: missing" in capsys.readouterr().err
    assert not desk.file.exists()


@pytest.mark.parametrize("with_tls", [False, True])
def test_a_proof_made_over_http_is_the_one_made_from_the_folder(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tls: bool
) -> None:
    case = ApiCase(tmp_path / "api", Chain())
    case.parts.tiles = desk.exported.folder
    now = datetime.now(UTC)
    authority = Authority.create(tmp_path / "ca", now=now)
    server = authority.issue(Principal(Role.API, "api"), tmp_path / "server", now=now)
    client = authority.issue(Principal(Role.AUDITOR, "auditor"), tmp_path / "client", now=now)
    context = server_context(TlsFiles(server.ca, server.certificate, server.key)) if with_tls else None
    assert desk.prove() == 0
    expected = desk.file.read_bytes()
    desk.file.unlink()
    with served(case, context) as port:
        monkeypatch.setenv("BKDMS_API__URL", f"http{'s' if with_tls else ''}://127.0.0.1:{port}")
        monkeypatch.setenv("BKDMS_TRANSPORT__INSECURE_API", str(not with_tls))
        for name in ("ca", "certificate", "key") if with_tls else ():
            monkeypatch.setenv(f"BKDMS_API__{name.upper()}", str(getattr(client, name)))
        code = desk.exported.code(4, 450)
        assert desk.run("prove", code, "-o", desk.file, "--genesis", desk.folder / "genesis.json") == 0
    case.close()
    assert desk.file.read_bytes() == expected
