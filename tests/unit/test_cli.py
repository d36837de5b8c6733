"""The command line as users meet it: exit codes, one-line errors, no stack traces, lazy imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.apps import authority
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.root import COMMANDS
from pipeline.apps.keys import key_files
from pipeline.config import load_settings
from pipeline.core.errors import BkdmsError, ConfigError, IntegrityError, TransientError
from pipeline.core.keys import Use
from pipeline.services.access import read_request
from tests.support.clean_env import clean_env
from tests.support.command_line import run

__all__ = ["clean_env"]

GENESIS = ("genesis", "--url", "https://kpi.example.org/city1")
SITE = {
    "BKDMS_SITE__COUNTRY": "US",
    "BKDMS_SITE__CITY": "unlocode:USMES",
    "BKDMS_SITE__SITE_ID": "fd00::1",
}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A patcher; ``fail_with`` uses it to make `bkdms genesis` end in an exception."""
    return monkeypatch


def fail_with(failing: pytest.MonkeyPatch, error: BaseException) -> int:
    """Return the exit code of a command that raises ``error``."""

    def broken(*_arguments: object, **_named: object) -> None:
        raise error

    failing.setattr(authority, "create_chain", broken)
    return run(*GENESIS)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("say what"), 2),
        (IntegrityError("say what"), 1),
        (TransientError("say what"), 1),
        (BkdmsError("say what"), 1),
    ],
)
def test_a_named_error_is_one_line_and_an_exit_code(
    clean_env: Path,
    failing: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    assert fail_with(failing, error) == code
    assert capsys.readouterr() == ("", "error: say what\n")


def test_an_interrupt_ends_without_words(
    clean_env: Path, failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(failing, KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_is_a_short_message_and_a_private_log(
    clean_env: Path, failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(failing, RuntimeError("inner detail")) == 1
    shown = capsys.readouterr().err
    log = clean_env / "state" / "bkdms" / "defects.log"
    assert str(log) in shown
    assert "inner detail" not in shown
    assert "inner detail" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_the_debug_variable_shows_the_trace(
    clean_env: Path, failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.setenv("BKDMS_DEBUG", "1")
    assert fail_with(failing, RuntimeError("inner detail")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_unknown_command_is_a_usage_error(clean_env: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("genesi") == 2
    assert "Did you mean 'genesis'?" in capsys.readouterr().err


def test_help_lists_every_command(clean_env: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in COMMANDS)


def test_help_imports_no_heavy_package() -> None:
    """The list of commands comes from a table, so showing it needs nothing but Typer."""
    script = (
        "import sys\nfrom pipeline.apps.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'pydantic', 'aiokafka', 'faust', 'sqlalchemy', 'fastapi', 'cryptography', 'redis'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_named_with_the_extra_to_install(
    clean_env: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pipeline.apps.desk", "pipeline.adapters.kafka"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    assert run("registrar", "revoke", "US/unlocode:USMES/fd00::1", "--reason", "x") == 2
    assert "pip install 'bkdms[worker]'" in capsys.readouterr().err


def test_genesis_prints_the_hash_of_the_chain(clean_env: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*GENESIS) == 0
    chain = load_genesis(clean_env / "share" / "bkdms" / "chain" / "genesis.json").chain
    assert capsys.readouterr().out == f"{chain.hex()}\n"


def test_genesis_takes_the_terms_of_the_contract(clean_env: Path) -> None:
    terms = ("--period-ms", "1000", "--skew-ms", "5", "--max-age-ms", "6", "--suite", "light")
    assert run(*GENESIS, "--folder", "c", "--nodes", "7", *terms) == 0
    genesis = load_genesis(clean_env / "c" / "genesis.json")
    contract = genesis.contract
    assert (contract.period_ms, contract.skew_ms, contract.max_age_ms) == (1000, 5, 6)
    assert [term.suite.name for term in contract.suites] == ["LIGHT"]
    assert genesis.policy.quorum == 5


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("--suite", "rot13", "rot13"), ("--period-ms", "1", "period_ms"), ("--quorum", "1", "quorum")],
)
def test_genesis_names_a_wrong_term(
    clean_env: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, named: str
) -> None:
    assert run(*GENESIS, option, value) == 2
    assert named in capsys.readouterr().err
    assert not (clean_env / "share").exists() or not list((clean_env / "share" / "bkdms").iterdir())


def test_a_site_asks_for_access_with_a_key_of_its_own(
    clean_env: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SITE.items():
        monkeypatch.setenv(name, value)
    assert run(*GENESIS) == 0
    capsys.readouterr()
    assert run("site", "request", "-o", "r.json", "--indicator", "LOCAL:TRAVEL_TIME", "--json") == 0
    data_dir = clean_env / "share" / "bkdms"
    request = read_request((clean_env / "r.json").read_bytes(), load_genesis(data_dir / "chain/genesis.json"))
    assert request.key == key_files(load_settings()).signer(data_dir / "site" / "key.json", Use.SITE).public
    assert json.loads(capsys.readouterr().out)["site_key"] == request.key.fingerprint.hex()


def test_a_site_asks_for_what_its_mapping_feeds(clean_env: Path) -> None:
    lines = ["[site]", 'country = "US"', 'city = "unlocode:USMES"', 'site_id = "fd00::1"']
    for indicator in ("LOCAL:TRAVEL_TIME", "LOCAL:TRAFFIC_SPEED", "LOCAL:TRAVEL_TIME"):
        lines += ["[[site.mapping.values]]", f'indicator = "{indicator}"']
    (clean_env / "bkdms.toml").write_text("\n".join(lines))
    assert run(*GENESIS) == 0
    assert run("site", "request", "-o", "r.json") == 0
    wanted = json.loads((clean_env / "r.json").read_text())["content"]["indicators"]
    assert wanted == ["LOCAL:TRAVEL_TIME", "LOCAL:TRAFFIC_SPEED"]


def test_a_site_without_a_name_is_told_the_setting(
    clean_env: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("site", "request", "-o", "r.json", "--indicator", "X") == 2
    assert "BKDMS_SITE__COUNTRY" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "US", "US/x", "US/x/y", "us/x/fd00::1", "US/a b/fd00::1", "/x/fd00::1"])
def test_what_is_no_site_is_refused(clean_env: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert run("registrar", "revoke", text, "--reason", "x") == 2
    assert "COUNTRY/CITY/SITE_ID" in capsys.readouterr().err
