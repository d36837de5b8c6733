"""How each test file last ended: read from pytest's JUnit files, kept as JSON beside the page."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree as XmlTree


@dataclass(frozen=True, slots=True)
class Result:
    """Tests of one file that passed and that did not, in its last run; ``day`` is that run's, as YYYY-MM-DD."""

    passed: int
    failed: int
    day: str


Results = Mapping[str, Result]


def read_results(text: str) -> dict[str, Result]:
    """Return results by test file from the JSON text of an earlier ``write_results``."""
    return {path: Result(**fields) for path, fields in json.loads(text).items()}


def write_results(results: Results) -> str:
    """Return results as JSON text, sorted by file."""
    return json.dumps({path: asdict(results[path]) for path in sorted(results)}, indent=1) + "\n"


def merge(known: Results, suites: Iterable[str], root: Path) -> dict[str, Result]:
    """Return known results with those of JUnit XML texts in place of older ones; files that are gone are left out.

    A file whose tests are in several suites (some deselected in each) counts them together.
    """
    found: dict[str, Result] = {}
    for text in suites:
        for path, result in _of_suites(XmlTree.fromstring(text), root).items():  # noqa: S314  our own file
            before = found.get(path, Result(0, 0, result.day))
            day = max(before.day, result.day)
            found[path] = Result(before.passed + result.passed, before.failed + result.failed, day)
    merged = {**known, **found}
    return {path: result for path, result in merged.items() if (root / path).is_file()}


def _of_suites(tree: Any, root: Path) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for suite in tree.iter("testsuite"):
        day = suite.get("timestamp", "")[:10]
        for case in suite.iter("testcase"):
            path = _file_of(case.get("classname", ""), root)
            if path is None:
                continue
            before = found.get(path, Result(0, 0, day))
            is_failed = any(case.find(tag) is not None for tag in ("failure", "error", "skipped"))
            found[path] = Result(before.passed + (not is_failed), before.failed + is_failed, day)
    return found


def _file_of(classname: str, root: Path) -> str | None:
    """Return the file of ``tests.unit.test_x`` or ``tests.unit.test_x.TestClass``."""
    parts = classname.split(".")
    for end in range(len(parts), 0, -1):
        path = PurePosixPath(*parts[:end]).with_suffix(".py")
        if (root / path).is_file():
            return str(path)
    return None
