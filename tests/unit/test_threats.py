"""The page of threats names every threat and goal of Y.4810, a control for each, and tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threats.md").read_text("utf-8")
THREATS = [f"DST-{number}" for number in range(1, 9)]
GOALS = ["integrity", "confidentiality", "non-repudiation", "availability", "authenticity", "authentication"]
TEST = re.compile(r"`(tests/[\w/]+\.py)`")


def rows() -> dict[str, list[str]]:
    """Return the cells of every table row by the first word of the row."""
    lines = [line.strip().strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    return {cells[0].strip().strip("*").split("**")[0]: cells for cells in lines}


@pytest.mark.parametrize("name", [*THREATS, *GOALS])
def test_a_threat_or_goal_has_a_control_and_tests_that_are_there(name: str) -> None:
    _, control, tests = rows()[name]
    assert len(control.split()) > 5
    named = TEST.findall(tests)
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_every_file_of_attacks_is_named() -> None:
    files = {f"tests/security/{path.name}" for path in (ROOT / "tests" / "security").glob("test_*.py")}
    assert files <= set(TEST.findall(PAGE))


def test_every_attack_is_about_a_threat_of_the_page() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "tests" / "security").glob("test_*.py"))
    assert set(re.findall(r"DST-\d", source)) <= set(THREATS)
