"""``bkdms pki issue`` refuses, in one line and before anything is written, what it can't or shouldn't do."""

from pathlib import Path

import pytest

from ops.lock import FolderLock
from pipeline.apps.cli import main
from tests.support.clean_env import clean_env

__all__ = ["clean_env"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which has to end with exit code 2 and one line; return that."""
    with pytest.raises(SystemExit) as ended:
        main(["pki", "issue", *arguments])
    assert ended.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("role", ["analysts", "", "admin", "broker", "redis"])
def test_an_unknown_role_and_those_of_the_stack_are_refused_with_the_list(
    clean_env: Path, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    error = refused(capsys, role, "maria", "-o", "new")
    assert repr(role) in error
    assert "choose from site, validator," in error
    assert "analyst" in error
    assert "admin" not in error.partition("choose from")[2]


@pytest.mark.parametrize("name", ["", "a b", "a,OU=admin", "x" * 55])
def test_a_bad_name_is_refused(clean_env: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "begin with a letter or digit" in refused(capsys, "analyst", name, "-o", "new")


def test_without_a_running_stack_it_says_how_to_start_one(
    clean_env: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clean_env / "data"
    error = refused(capsys, "analyst", "maria", "-o", "new", "--data-dir", str(folder))
    assert f"nothing runs in {folder}" in error
    assert f"bkdms up --detach --data-dir {folder}" in error
    assert not Path("new").exists()


def test_a_stack_that_is_still_starting_is_not_running(
    clean_env: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = FolderLock(clean_env / "data")
    assert "nothing runs" in refused(capsys, "analyst", "maria", "-o", "new", "--data-dir", "data")
    lock.release()


@pytest.mark.parametrize("name", ["certificate.pem", "key.pem"])
def test_a_key_that_is_there_is_not_replaced_unasked(
    clean_env: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    Path("old").mkdir(mode=0o700)
    (Path("old") / name).write_text("kept")
    assert "--renew" in refused(capsys, "analyst", "maria", "-o", "old")
    assert (Path("old") / name).read_text() == "kept"


def test_a_folder_that_others_can_look_into_is_refused_and_left_as_it_is(
    clean_env: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("shared").mkdir()
    Path("shared").chmod(0o755)
    assert "open to others" in refused(capsys, "analyst", "maria", "-o", "shared")
    assert Path("shared").stat().st_mode & 0o777 == 0o755
