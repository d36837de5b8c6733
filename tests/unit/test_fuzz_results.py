"""A long fuzz run goes on where its file of results ends."""

from dataclasses import replace
from pathlib import Path

from tests.fuzz.results import Tried, append, done

GOOD = Tried("note", 1, 1000, 1000, 2.5, 400, "good")


def test_only_what_was_good_in_as_many_inputs_from_the_same_seed_is_done(tmp_path: Path) -> None:
    file = tmp_path / "fuzz.jsonl"
    for name, changes in {
        "found": {"verdict": "found"},
        "short": {"inputs": 999},
        "other-seed": {"seed": 2},
        "fewer": {"asked": 10},
    }.items():
        append(file, replace(GOOD, target=name, **changes))  # type: ignore[arg-type]
    append(file, GOOD)
    assert done(file, 1, 1000) == {"note"}


def test_without_a_file_nothing_is_done(tmp_path: Path) -> None:
    assert done(None, 1, 1000) == done(tmp_path / "none", 1, 1000) == frozenset()
