"""Programs of others that judge our exports, built once into the cache folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FSCK = "github.com/transparency-dev/tessera/cmd/fsck"
FSCK_VERSION = "v1.0.4"
BUILD_TIMEOUT_S = 900


def go_program() -> str:
    """Return the go command; as root on a machine with apt it is installed where it is missing."""
    found = shutil.which("go")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "golang-go"], check=False
        )
        found = shutil.which("go")
    if found is None:
        pytest.fail(
            "the judges need Go 1.24 or newer: install it from go.dev/dl, or as root by: apt-get install golang-go"
        )
    return found


@pytest.fixture(scope="session")
def fsck() -> Path:
    """The upstream checker of C2SP tiles."""
    cache = Path(os.environ.get("BKDMS_CACHE") or ROOT / ".cache") / "judges"
    program = cache / f"fsck-{FSCK_VERSION}"
    if not program.exists():
        draft = cache / f"build-{os.getpid()}"
        draft.mkdir(parents=True)
        built = subprocess.run(
            [go_program(), "install", f"{FSCK}@{FSCK_VERSION}"],
            env={**os.environ, "GOBIN": str(draft)},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=BUILD_TIMEOUT_S,
        )
        if built.returncode:
            pytest.fail(f"{FSCK}@{FSCK_VERSION} can't be built: {built.stderr}")
        (draft / "fsck").replace(program)
        draft.rmdir()
    return program
