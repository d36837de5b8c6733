"""A site agent that is killed at random, as a process, loses nothing and doubles nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.site_process import RECORDS_A_LIFE, FileLog

_LIVES = 14


@pytest.mark.parametrize("seed", [1, 2])
def test_a_site_killed_at_random_times_delivers_everything_once_and_in_order(
    tmp_path: Path, seed: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.site_process", str(tmp_path), str(_LIVES), str(seed)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["exit"] == 0, done.stderr
    assert outcome["kills"] >= 5
    log = FileLog(tmp_path / "log")
    ledger = log.follow()
    assert ledger.committed(log.site) == ledger.admitted == list(range(_LIVES * RECORDS_A_LIFE))
