"""Runs every fuzz target for some seconds, as many at a time as there are cores: ``python -m tests.fuzz --help``."""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.material import CACHE
from tests.fuzz.targets import TARGETS

HANG_S = 10
MEMORY_MB = 2048
_MAX_INPUT_BYTES = 200_000
_ROOT = Path(__file__).parents[2]
_NOISE = ("INFO: Instrumenting", "WARNING: Failed to find function", "0x")
_RUNS = re.compile(r"Done (\d+) runs|stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a target's run gave: exit code, number of inputs tried, and the end of what it said."""

    name: str
    code: int
    runs: int
    said: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", help="targets (default: all)", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (default: 10)")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the changes that are tried; 0: another each time (default: 1)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("--input", type=Path, help="try the bytes of a file on the one target that is named")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - TARGETS.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are: {', '.join(TARGETS)}")
    if options.input is not None:
        if len(options.names) != 1:
            parser.error("--input needs the name of one target")
        accepted = TARGETS[options.names[0]].check(options.input.read_bytes())
        sys.stdout.write(f"{'accepted' if accepted else 'refused'}\n")
        return 0
    if importlib.util.find_spec("atheris") is None:
        parser.error("the package atheris is not installed; `make setup` installs it")
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(
            pool.map(lambda name: _run(name, options.seconds, options.seed), options.names or TARGETS)
        )
    return int(any(outcome.code for outcome in outcomes))


def _run(name: str, seconds: int, seed: int) -> Outcome:
    """Fuzz one target in a process of its own and say what came of it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        command = [
            *(sys.executable, "-m", "tests.fuzz.harness", name, folder),
            *(f"-max_total_time={seconds}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}"),
            *(
                f"-seed={seed}",
                f"-max_len={_MAX_INPUT_BYTES}",
                f"-artifact_prefix={CACHE}/{name}-",
                "-print_final_stats=1",
            ),
        ]
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, errors="replace", check=False
        )
    lines = f"{done.stderr}\n{done.stdout}".splitlines()
    said = "\n".join(line[:500] for line in lines if not line.startswith(_NOISE))
    runs = max((int(a or b) for a, b in _RUNS.findall(said)), default=0)
    outcome = Outcome(name, done.returncode, runs, said[-4000:])
    sys.stderr.write(f"{name:<16} {runs:>9} inputs  {'FOUND' if outcome.code else 'good'}\n")
    if outcome.code:
        sys.stderr.write(
            f"{outcome.said}\ntry it again: python -m tests.fuzz {name} --input {CACHE}/{name}-…\n"
        )
    return outcome


if __name__ == "__main__":
    sys.exit(main())
