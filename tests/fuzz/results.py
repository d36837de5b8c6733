"""The file of what was fuzzed: a line of JSON for each target, so that a long run can be stopped and resumed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tried:
    """A target's run: how many inputs were asked for (0: as many as its time allowed) and tried, and in how long."""

    target: str
    seed: int
    asked: int
    inputs: int
    seconds: float
    inputs_per_second: float
    verdict: str

    @property
    def is_good(self) -> bool:
        """Whether nothing was found in as many inputs as were asked for."""
        return self.verdict == "good" and self.inputs >= self.asked


def append(file: Path, tried: Tried) -> None:
    """Add a line."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(asdict(tried)) + "\n")


def done(file: Path | None, seed: int, asked: int) -> frozenset[str]:
    """Return the targets that a file says were good in this many inputs from this seed."""
    if file is None or not file.exists():
        return frozenset()
    lines = [Tried(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]
    return frozenset(
        tried.target for tried in lines if tried.is_good and (tried.seed, tried.asked) == (seed, asked)
    )
