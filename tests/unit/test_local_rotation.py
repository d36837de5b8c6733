"""The thread of a deployment that has the platform's keys rotated."""

import sys
import time
from pathlib import Path

from pipeline.apps.local.rotation import KeyRotation


def counting(file: Path, code: int = 0) -> tuple[str, ...]:
    """Return a command that leaves a mark and ends with this code."""
    text = f"import sys; open({str(file)!r}, 'a').write('x'); sys.stderr.write('no desk'); sys.exit({code})"
    return (sys.executable, "-c", text)


def wait_for(file: Path, marks: int) -> None:
    end = time.monotonic() + 20
    while not file.exists() or len(file.read_text()) < marks:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_resumed_deployment_rotates_at_once_and_again_after_each_interval(tmp_path: Path) -> None:
    told: list[str] = []
    rotation = KeyRotation(counting(tmp_path / "runs"), told.append, is_due=True, interval_s=0.01)
    wait_for(tmp_path / "runs", 2)
    rotation.close()
    assert told == []


def test_a_run_that_fails_is_told_and_repeated(tmp_path: Path) -> None:
    told: list[str] = []
    rotation = KeyRotation(counting(tmp_path / "runs", 1), told.append, is_due=False, interval_s=0.01)
    wait_for(tmp_path / "runs", 3)
    rotation.close()
    assert told
    assert "no desk" in told[0]


def test_closing_ends_a_run_under_way(tmp_path: Path) -> None:
    text = f"open({str(tmp_path / 'runs')!r}, 'w').write('x'); import time; time.sleep(600)"
    rotation = KeyRotation((sys.executable, "-c", text), print, is_due=True)
    wait_for(tmp_path / "runs", 1)
    rotation.close()
