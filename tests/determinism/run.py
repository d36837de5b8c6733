"""Derives the golden log in many environments and compares every byte's digest with the stored ones.

``python -m tests.determinism.run`` runs each environment under the Python of ``.venv`` and the one of
``.venv-newer``. Exit code 1 names what differs and where, 2 says what is missing.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.determinism.derive import GOLDEN, Digests

ROOT = Path(__file__).parents[2]
PYTHONS = (ROOT / ".venv" / "bin" / "python", ROOT / ".venv-newer" / "bin" / "python")
ENVIRONMENTS = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8"},
    {"PYTHONHASHSEED": "4242", "TZ": "America/St_Johns", "LC_ALL": "de_DE.UTF-8", "PYTHONOPTIMIZE": "2"},
    {"PYTHONHASHSEED": "random", "TZ": "Asia/Kathmandu", "LC_ALL": "fa_IR.UTF-8", "PYTHONUTF8": "0"},
)
"""Turkish has its own i, German a decimal comma, Persian digits of its own; optimised Python makes no assertion."""
_SHOWN = 5


class MissingError(Exception):
    """Something has to be installed first."""


@contextmanager
def locales() -> Iterator[Path]:
    """Make the locales of the environments in a folder for ``LOCPATH``."""
    with tempfile.TemporaryDirectory() as folder:
        for name in {environment["LC_ALL"] for environment in ENVIRONMENTS} - {"C"}:
            language, charset = name.split(".")
            command = ["localedef", "-i", language, "-f", charset, f"{folder}/{name}"]
            try:
                made = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                raise MissingError("localedef is missing; install it: apt-get install locales") from None
            if not (Path(folder) / name).is_dir():
                raise MissingError(f"locale {name}: {made.stderr.strip()}; apt-get install locales")
        yield Path(folder)


def derive(python: Path, environment: dict[str, str], locpath: Path) -> Digests:
    """Return what a Python derives in an environment."""
    if not python.is_file():
        raise MissingError(f"{python} is missing; run 'make determinism', which makes it")
    settings = os.environ | environment | {"LOCPATH": str(locpath)}
    command = [str(python), "-m", "tests.determinism.derive"]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python} in {environment} failed:\n{done.stderr}")
    digests: Digests = json.loads(done.stdout)
    return digests


def differences(found: Digests, golden: Digests) -> list[str]:
    """Return the names of everything that is not as stored, in order."""
    names = [*golden, *(name for name in found if name not in golden)]
    return [name for name in names if found.get(name) != golden.get(name)]


def main() -> int:
    """Run all environments; return the exit code."""
    golden: Digests = json.loads(GOLDEN.read_text())
    code = 0
    try:
        with locales() as locpath:
            for python in PYTHONS:
                for environment in ENVIRONMENTS:
                    wrong = differences(derive(python, environment, locpath), golden)
                    where = " ".join(f"{name}={value}" for name, value in environment.items())
                    said = (
                        f"differs: {', '.join(wrong[:_SHOWN])}" if wrong else f"{len(golden)} digests agree"
                    )
                    sys.stdout.write(f"{python.relative_to(ROOT)} {where}: {said}\n")
                    code = 1 if wrong else code
    except MissingError as missing:
        sys.stderr.write(f"{missing}\n")
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
