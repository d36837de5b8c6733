"""The Dockerfiles copy what is there, run as nobody special, and install what works with their extra alone."""

import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pipeline.apps.cli.root import COMMANDS
from pipeline.apps.cli.worker import WORKERS
from tests.support import compose

each = pytest.mark.parametrize("dockerfile", compose.DOCKERFILES)
EXTRA = {"Dockerfile": "worker", "Dockerfile.site": "site"}
SITE_LIMIT_BYTES = 60 * 1024 * 1024


def packages_of(extra: str) -> set[str]:
    """Return the names of all packages that an extra of ours brings, by what is installed here."""
    project = tomllib.loads((compose.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found: set[tuple[str, str]] = set()

    def needs(name: str, extra: str) -> list[str]:
        if name == "bkdms":
            return [*project["dependencies"], *project["optional-dependencies"].get(extra, [])]
        return metadata.requires(name) or []

    def add(one: Requirement) -> None:
        for chosen in one.extras or {""}:
            if (one.name.lower(), chosen) in found:
                continue
            found.add((one.name.lower(), chosen))
            for text in needs(one.name, chosen):
                below = Requirement(text)
                if below.marker is None or any(below.marker.evaluate({"extra": e}) for e in {chosen, ""}):
                    add(below)

    add(Requirement(f"bkdms[{extra}]"))
    return {name for name, _ in found} - {"bkdms"}


def files_of(package: str) -> Iterator[Path]:
    """Yield the top-level entries that a package has in site-packages."""
    distribution = metadata.distribution(package)
    folder = Path(str(distribution.locate_file("")))
    tops = {
        Path(str(file)).parts[0] for file in distribution.files or [] if ".." not in Path(str(file)).parts
    }
    yield from (folder / top for top in tops if top != "__pycache__")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel, built from what the images copy."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(compose.ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"))


def bare_python(folder: Path, wheel: Path, extra: str) -> Path:
    """Make an environment that holds the wheel and the packages of one extra, and nothing else; return its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    for package in packages_of(extra):
        for entry in files_of(package):
            if not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return python


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with nothing of this checkout in its way."""
    return subprocess.run(
        [str(python), "-P", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=python.parent,
        env={"HOME": str(python.parent), "PATH": "/usr/bin:/bin"},
    )


@each
def test_everything_that_is_copied_is_there_and_let_in(dockerfile: str) -> None:
    let_in = {
        line[1:] for line in (compose.ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for one in compose.instructions(dockerfile):
        if one.word == "COPY" and not one.rest.startswith("--from="):
            for source in one.arguments[:-1]:
                assert (compose.ROOT / source).exists()
                assert source in let_in


@each
def test_an_image_runs_as_nobody_special(dockerfile: str) -> None:
    words = [one.word for one in compose.instructions(dockerfile)]
    assert compose.last(dockerfile, "USER").rest == "10001:10001"
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "ADD" not in words


@each
def test_bases_are_pinned_and_slim(dockerfile: str) -> None:
    bases = {one.arguments[0] for one in compose.instructions(dockerfile) if one.word == "FROM"}
    assert len(bases) == 1
    assert all(base.startswith("python:3.11.") and base.endswith("-slim-bookworm") for base in bases)


@each
def test_an_image_installs_its_extra_at_the_tested_versions(dockerfile: str) -> None:
    install = next(one.rest for one in compose.instructions(dockerfile) if "pip install" in one.rest)
    assert f'".[{EXTRA[dockerfile]}]"' in install
    assert "--constraint constraints.txt" in install
    assert "http" not in install


@each
def test_every_package_of_an_image_is_pinned(dockerfile: str) -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (compose.ROOT / "constraints.txt").read_text().splitlines()
    }
    # setuptools comes with the environment, and lists of versions leave it out.
    wanted = {name.replace("_", "-") for name in packages_of(EXTRA[dockerfile])} - {"setuptools"}
    assert wanted <= pinned


def test_the_site_image_is_small() -> None:
    """Neither Faust nor a database driver nor Arrow is in it."""
    packages = packages_of("site")
    assert not packages & {"faust-streaming", "pyarrow", "sqlalchemy", "redis", "confluent-kafka", "psycopg"}
    entries = {entry for package in packages for entry in files_of(package)}
    sizes = [
        file.stat().st_size
        for entry in entries
        for file in ([entry] if entry.is_file() else entry.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    ]
    assert sum(sizes) < SITE_LIMIT_BYTES


@pytest.fixture(scope="module")
def pythons(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Python for each image."""
    return {
        extra: bare_python(tmp_path_factory.mktemp("env") / extra, wheel, extra) for extra in EXTRA.values()
    }


@pytest.mark.parametrize("extra", EXTRA.values())
def test_every_command_of_an_image_finds_its_packages(extra: str, pythons: dict[str, Path]) -> None:
    """The modules of all its commands can be imported with the packages of that extra and no other."""
    brought = {"site"} if extra == "site" else {"site", "worker"}
    modules = {entry.module for entry in [*COMMANDS.values(), *WORKERS.values()] if entry.extra in brought}
    ran = run(pythons[extra], "-c", f"import {', '.join(sorted(modules))}, pipeline.apps.site_agent")
    assert ran.returncode == 0, ran.stderr


def test_a_site_says_what_a_worker_would_need(pythons: dict[str, Path]) -> None:
    """Without the worker's packages its command names the extra."""
    ran = run(pythons["site"], "-m", "pipeline.apps.cli", "worker", "account")
    assert ran.returncode == 2
    assert "bkdms[worker]" in ran.stderr


def test_the_wheel_holds_what_the_programs_read(wheel: Path) -> None:
    """Schemas, catalogue, samples, rules: files that are no Python."""
    names = set(zipfile.ZipFile(wheel).namelist())
    kept = subprocess.run(
        ["git", "ls-files", "pipeline", "schemas", "connectors", "ops"],
        cwd=compose.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {name for name in kept.stdout.split() if (compose.ROOT / name).exists()} <= names
