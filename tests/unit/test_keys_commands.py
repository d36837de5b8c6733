"""``bkdms keys``: what an operator does with keys at rest; and no program writes a key in clear."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.tls.authority import Authority
from ops.tls.profile import Branch
from pipeline.adapters.keystore import (
    SealingKeyFolder,
    is_plain_key,
    new_sealing_key,
    new_signing_key,
    save_key,
)
from pipeline.adapters.sealed_file import is_sealed
from pipeline.apps.authority import ChainPlan, create_chain
from pipeline.apps.keys import key_files, key_vault
from pipeline.config import load_settings
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Algorithm, Use
from pipeline.core.signing import Ed25519Signer
from tests.support.clean_env import clean_env
from tests.support.command_line import run

__all__ = ["clean_env"]

URL = "https://kpi.example.org/city1"
SITE = Ed25519Signer(bytes(range(32)), Use.SITE)
PLATFORM = new_sealing_key(Algorithm.X25519)
FINGERPRINT = PLATFORM.public.fingerprint


@pytest.fixture
def strict(clean_env: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a user without insecure settings."""
    monkeypatch.delenv("BKDMS_KEYS__INSECURE_PLAIN_FILES")
    return clean_env / "share" / "bkdms"


@pytest.fixture
def plain(strict: Path) -> Path:
    """A data folder of an earlier release: every key in clear."""
    create_chain(strict / "chain", ChainPlan(URL, nodes=("node-1",), quorum=1, roots=1, root_threshold=1))
    save_key(strict / "site" / "key.json", SITE)
    spool_key = strict / "site" / "keys" / "spool.key"
    spool_key.parent.mkdir()
    spool_key.touch(mode=0o600)
    spool_key.write_bytes(bytes(32))
    SealingKeyFolder(strict / "platform" / "keys").add(PLATFORM)
    access = load_settings().access
    save_key(access.token_key, new_signing_key(Use.TOKEN))
    save_key(access.log_key, new_signing_key(Use.ACCESS_LOG))
    Authority.create(strict / "pki", now=datetime.now(UTC))
    return strict


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run("keys", "list", "--json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["keys"]
    return rows


def key_paths(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "keys" in path.parts]


def test_a_new_chain_has_no_key_in_clear(strict: Path) -> None:
    assert run("genesis", "--url", URL) == 0
    keys = key_paths(strict / "chain")
    assert len(keys) == 3 + 2 * 4 + 2
    assert all(is_sealed(path.read_bytes()) for path in keys)


def test_plain_keys_of_an_earlier_release_are_refused_until_they_are_sealed(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="bkdms keys seal"):
        key_files(load_settings()).signer(plain / "site" / "key.json", Use.SITE)
    assert {row["form"] for row in listed(capsys)} == {"plain"}
    assert run("keys", "seal") == 0
    rows = listed(capsys)
    assert {(row["form"], row["use"]) for row in rows} == {
        *(("sealed", use) for use in ("root", "node", "registrar", "log", "site", "spool")),
        *(("sealed", use) for use in ("token", "access_log")),
        *(("sealed", f"transport-{name}") for name in ("root", "sites", "platform")),
        ("wrapped", "platform"),
    }
    assert not any(is_plain_key(path.read_bytes()) for path in plain.rglob("*.json"))
    assert (plain / "site" / "keys" / "spool.key").read_bytes() != bytes(32)
    settings = load_settings()
    assert key_files(settings).signer(plain / "site" / "key.json", Use.SITE).public == SITE.public
    assert key_vault(settings).get(FINGERPRINT) == PLATFORM


def test_sealing_twice_changes_nothing(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "seal") == 0
    capsys.readouterr()
    assert run("keys", "seal", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"sealed": [], "vault": 0}


def test_a_key_is_destroyed_by_its_fingerprint(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "seal") == 0
    capsys.readouterr()
    assert run("keys", "destroy", FINGERPRINT.hex(), "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"destroyed": FINGERPRINT.hex(), "generation": 2}
    assert key_vault(load_settings()).get(FINGERPRINT) is None


@pytest.mark.parametrize("wrong", ["zz", "00" * 32])
def test_an_unknown_fingerprint_is_a_mistake(plain: Path, wrong: str) -> None:
    assert run("keys", "destroy", wrong, "--yes") == 2


def test_after_a_change_of_passphrase_only_the_new_one_opens(
    plain: Path, clean_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("keys", "seal") == 0
    new = clean_env / "new-passphrase"
    new.touch(mode=0o600)
    new.write_text("another one, and longer\n")
    assert run("keys", "passphrase", str(new)) == 0
    with pytest.raises(ConfigError, match="is another one"):
        key_files(load_settings()).signer(plain / "site" / "key.json", Use.SITE)
    monkeypatch.setenv("BKDMS_KEYS__PASSPHRASE_FILE", str(new))
    settings = load_settings()
    assert key_files(settings).signer(plain / "site" / "key.json", Use.SITE).public == SITE.public
    assert key_vault(settings).get(FINGERPRINT) == PLATFORM
    assert Authority.load(plain / "pki", key_files(settings)).issuers[Branch.SITES].key is not None
    assert run("keys", "passphrase", str(new)) == 0


@pytest.mark.parametrize("name", ["PASSPHRASE_FILE", "GENERATIONS_DIR"])
def test_what_opens_the_keys_may_not_lie_in_the_data_folder(
    strict: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(f"BKDMS_KEYS__{name}", str(strict / "inside"))
    assert run("genesis", "--url", URL) == 2
    assert "outside" in capsys.readouterr().err


def test_a_process_of_ours_dumps_no_core_and_lets_nobody_attach() -> None:
    check = (
        "import ctypes, resource, sys\n"
        "from pipeline.apps.cli import main\n"
        "try:\n    main(['keys', 'list', '--help'])\nexcept SystemExit:\n    pass\n"
        "try:\n    main(['keys', 'destroy', 'zz', '--yes'])\nexcept SystemExit:\n    pass\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(0, 0) 0"
