"""Runs every fuzz target for some seconds or some number of inputs: ``python -m tests.fuzz --help``."""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.material import CACHE
from tests.fuzz.results import Tried, append, done
from tests.fuzz.targets import TARGETS

HANG_S = 10
MEMORY_MB = 2048
_MAX_INPUT_BYTES = 200_000
_ROOT = Path(__file__).parents[2]
_NOISE = ("INFO: Instrumenting", "WARNING: Failed to find function", "0x")
_INTERRUPTED = "libFuzzer: run interrupted"
_RUNS = re.compile(r"Done (\d+) runs|stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Extent:
    """How far to go: the seed of the changes, then ``inputs`` of them, or as many as ``seconds`` allow if 0."""

    seed: int
    seconds: int
    inputs: int

    @property
    def option(self) -> str:
        """What libFuzzer is told."""
        return f"-runs={self.inputs}" if self.inputs else f"-max_total_time={self.seconds}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", help="targets (default: all)", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (default: 10)")
    parser.add_argument(
        "--inputs", type=int, default=0, help="try so many on each target, however long it takes"
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="append a line of JSON for each target; with --inputs, go on where it ends",
    )
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
    extent = Extent(options.seed, options.seconds, options.inputs)
    before = done(options.results, extent.seed, extent.inputs) if extent.inputs else frozenset()
    names = [name for name in options.names or TARGETS if name not in before]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda name: _run(name, extent, options.results), names))
    return int(not all(tried.is_good for tried in found))


def _run(name: str, extent: Extent, results: Path | None) -> Tried:
    """Fuzz one target in a process of its own, and say and write down what came of it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        command = [
            *(sys.executable, "-m", "tests.fuzz.harness", name, folder),
            *(extent.option, f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}"),
            *(
                f"-seed={extent.seed}",
                f"-max_len={_MAX_INPUT_BYTES}",
                f"-artifact_prefix={CACHE}/{name}-",
                "-print_final_stats=1",
            ),
        ]
        ended = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, errors="replace", check=False
        )
    seconds = round(time.monotonic() - began, 1)
    lines = f"{ended.stderr}\n{ended.stdout}".splitlines()
    said = "\n".join(line[:500] for line in lines if not line.startswith(_NOISE))
    inputs = max((int(a or b) for a, b in _RUNS.findall(said)), default=0)
    failed = "interrupted" if _INTERRUPTED in said else "found"
    verdict = failed if ended.returncode else "good"
    tried = Tried(
        name, extent.seed, extent.inputs, inputs, seconds, round(inputs / max(seconds, 0.1)), verdict
    )
    if results is not None:
        append(results, tried)
    sys.stderr.write(f"{name:<18} {inputs:>9} inputs  {seconds:>8} s  {verdict}\n")
    if ended.returncode:
        sys.stderr.write(
            f"{said[-4000:]}\ntry it again: python -m tests.fuzz {name} --input {CACHE}/{name}-…\n"
        )
    return tried


if __name__ == "__main__":
    sys.exit(main())
