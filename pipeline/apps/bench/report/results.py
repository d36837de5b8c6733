"""Results files: one JSON line a run, appended, so that long measurements stop, go on and add up."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.apps.bench.figures import machine
from pipeline.apps.bench.report.figure import Figure
from pipeline.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one run of a benchmark, with what it was asked and where it ran; ``arguments`` are JSON values."""

    bench: str
    arguments: Mapping[str, Any]
    figures: tuple[Figure, ...]
    seed: int | None = None
    machine: Mapping[str, Any] = field(default_factory=machine)

    def as_json(self) -> dict[str, Any]:
        """Return the result as a JSON value."""
        return {
            "bench": self.bench,
            "arguments": dict(self.arguments),
            "seed": self.seed,
            "machine": dict(self.machine),
            "figures": [figure.as_json() for figure in self.figures],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Result":
        """Return the result of a JSON value.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is none.
        """
        figures = tuple(Figure.from_json(each) for each in value["figures"])
        return cls(
            str(value["bench"]), dict(value["arguments"]), figures, value["seed"], dict(value["machine"])
        )


def append_result(path: Path, result: Result) -> None:
    """Append a run to a results file, through to the disk; a last line that was cut off is removed first.

    Raises:
        ConfigError: the file can't be written.
    """
    line = json.dumps(result.as_json(), sort_keys=True).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None


def read_results(path: Path) -> list[Result]:
    """Return the runs of a results file, in order; none where there is no file. A line that was cut off is left out.

    Raises:
        ConfigError: a whole line is no result, or the file can't be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    results = []
    for number, line in enumerate(lines, 1):
        try:
            results.append(Result.from_json(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConfigError(f"{path}: line {number} is no result of a benchmark") from None
    return results
