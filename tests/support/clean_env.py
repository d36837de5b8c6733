"""A process environment without anybody's own settings."""

import os
from pathlib import Path

import pytest

from tests.support import keys


@pytest.fixture
def clean_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave no BKDMS_ variable but those of cheap keys, keep all under ``tmp_path`` and work in it; returns it."""
    for name in list(os.environ):
        if name.upper().startswith("BKDMS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, value in keys.environment(tmp_path / "config").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path
