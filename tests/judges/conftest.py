"""Programs of others that judge our exports, built once into the cache folder."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FSCK = "github.com/transparency-dev/tessera", "cmd/fsck", "v1.0.4"
WITNESS = "filippo.io/torchwood", "cmd/litewitness", "v0.9.0"
FORMATS = "github.com/transparency-dev/formats", "v0.1.2-0.20260710124811-af9e607161b6"
COSIGNER = Path(__file__).parent / "cosigner" / "main.go"
BUILD_TIMEOUT_S = 900
OLDEST_GO = (1, 25)
GO_MODULE = "v0.0.1-go1.25.0"


def go_program(cache: Path) -> str:
    """Return a go command that is new enough; what is missing is installed, or the test fails and says how.

    A distribution's older Go fetches a newer one as a Go module.
    """
    places = [shutil.which("go"), "/usr/local/go/bin/go", str(cache / GO_MODULE / "bin" / "go")]
    found = [place for place in places if place and Path(place).exists()]
    new_enough = [place for place in found if go_version(place) >= OLDEST_GO]
    if new_enough:
        return new_enough[0]
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "golang-go"]
        subprocess.run(install, check=False)
    old = shutil.which("go")
    if old is None:
        pytest.fail("the judges need Go: install it, as root by: apt-get install golang-go")
    return fetched_go(old, cache)


def go_version(program: str) -> tuple[int, int]:
    """Return major and minor version of a go command."""
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def fetched_go(old: str, cache: Path) -> str:
    """Fetch a newer Go by an older one, into the cache folder."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    module = f"golang.org/toolchain@{GO_MODULE}.linux-{machine}"
    told = subprocess.run(
        [old, "mod", "download", "-json", module], capture_output=True, text=True, check=False
    )
    if told.returncode:
        pytest.fail(f"{old} is too old and can't fetch {module}: {told.stderr}; install Go 1.25 or newer")
    target = cache / GO_MODULE
    shutil.copytree(json.loads(told.stdout)["Dir"], target, copy_function=shutil.copyfile)
    # Modules carry no executable bits.
    for program in (*(target / "bin").iterdir(), *(target / "pkg" / "tool").rglob("*")):
        program.chmod(0o755)
    return str(target / "bin" / "go")


@pytest.fixture(scope="session")
def fsck() -> Path:
    """The upstream checker of C2SP tiles."""
    return built(*FSCK)


@pytest.fixture(scope="session")
def litewitness() -> Path:
    """An upstream witness (C2SP tlog-witness)."""
    return built(*WITNESS)


@pytest.fixture(scope="session")
def cosigner() -> Path:
    """A small program of ours around an upstream implementation of cosignatures."""
    module, version = FORMATS
    source = COSIGNER.read_bytes()
    name = f"cosigner-{version}-{hashlib.sha256(source).hexdigest()[:8]}"
    return built_as(name, module, version, ".", {"main.go": source})


def built(module: str, package: str, version: str) -> Path:
    """Return a program of a Go module, built into the cache folder unless it is there."""
    return built_as(f"{package.rpartition('/')[2]}-{version}", module, version, f"{module}/{package}", {})


def built_as(name: str, module: str, version: str, package: str, sources: dict[str, bytes]) -> Path:
    """Build a program with one Go module, in a module of its own.

    `go install` would also ask for the list of the module's versions, which mirrors may lack.
    """
    cache = Path(os.environ.get("BKDMS_CACHE") or ROOT / ".cache") / "judges"
    program = cache / name
    if program.exists():
        return program
    draft = cache / f"build-{os.getpid()}"
    draft.mkdir(parents=True)
    (draft / "go.mod").write_text(f"module judge\n\ngo 1.25\n\nrequire {module} {version}\n")
    for file, content in sources.items():
        (draft / file).write_bytes(content)
    ran = subprocess.run(
        [go_program(cache), "build", "-mod=mod", "-o", draft / name, package],
        cwd=draft,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=BUILD_TIMEOUT_S,
    )
    if not ran.returncode:
        (draft / name).replace(program)
    shutil.rmtree(draft)
    if ran.returncode:
        pytest.fail(f"{module}@{version} can't be built: {ran.stderr}")
    return program
