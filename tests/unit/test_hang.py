"""A test that hangs fails the session within its time, whatever it swallows, and says where it was."""

import subprocess
import sys
from pathlib import Path

CASE = """
import asyncio

import pytest


async def never():
    while True:
        try:
            await asyncio.sleep(0)
        except BaseException:
            pass


@pytest.mark.timeout(1)
async def test_hangs():
    await never()
"""


def test_a_hanging_test_ends_the_session_and_is_named(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    case = tmp_path / "test_case.py"
    case.write_text(CASE)
    argv = (sys.executable, "-m", "pytest", "-c", root / "pyproject.toml", "--rootdir", tmp_path)
    ended = subprocess.run(
        [*argv, "-p", "tests.conftest", "-p", "no:cacheprovider", case],
        cwd=root, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert (ended.returncode, "test_hangs did not end within 1 s" in said, "await never()" in said) == (
        1,
        True,
        True,
    )
