"""The conformance page says what the tests last said, whatever is claimed."""

from pathlib import Path

import pytest

from ops.conformance.page import COUNTS_MARK, page, shown_state
from ops.conformance.results import Result, merge, read_results, write_results
from ops.conformance.rows import Claim, read_claims
from pipeline.core.errors import ConfigError

REQUIREMENTS = """id,clause,requirement_own_words,status,met_by,suggested_feature,suggested_test
A-1,Y.4907 7.2.1,normalise,M,software,x,y
B-1,9.1,boot,R,software,x,y
"""
STATES = """
[A-1]
state = "supported"
where = "here"
tests = ["tests/unit/test_a.py"]

[B-1]
state = "not yet"
where = "nothing"
"""
GOOD = {"tests/unit/test_a.py": Result(3, 0, "2026-11-20")}
SUITE = """<testsuites><testsuite timestamp="{day}T10:00:00"><testcase classname="tests.unit.test_a" name="one"/>
<testcase classname="tests.unit.test_a.TestMore" name="two">{inside}</testcase>
<testcase classname="tests.unit.test_gone" name="three"/></testsuite></testsuites>"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with one test file."""
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_a.py").touch()
    return tmp_path


def claims() -> tuple[Claim, ...]:
    return read_claims(REQUIREMENTS, STATES)


def test_a_row_has_its_requirement_claim_tests_and_last_result() -> None:
    text = page(f"# Conformance\n{COUNTS_MARK}", claims(), GOOD)
    row = "| A-1 | 7.2.1 | M | normalise | **supported** | here | `tests/unit/test_a.py` | 3 passed (2026-11-20) |"
    assert row in text
    assert "| B-1 | 9.1 | R | boot | **not yet** | nothing |  |  |" in text
    assert "Y.4907: 1 supported, 0 partly, 0 not yet. Y.4810: 0 supported, 0 partly, 1 not yet." in text


def test_a_supported_row_whose_test_failed_says_so() -> None:
    failed = {"tests/unit/test_a.py": Result(2, 1, "2026-11-20")}
    assert shown_state(claims()[0], failed) == "supported, tests failing"
    assert "2 passed, 1 failed (2026-11-20)" in page("", claims(), failed)


def test_a_supported_row_whose_test_never_ran_says_so() -> None:
    assert shown_state(claims()[0], {}) == "supported, not all tests run"
    assert "| not run yet |" in page("", claims(), {})


@pytest.mark.parametrize(
    ("inside", "failed"), [("", 0), ("<failure/>", 1), ("<error/>", 1), ("<skipped/>", 1)]
)
def test_results_are_read_by_file_and_what_did_not_pass_failed(root: Path, inside: str, failed: int) -> None:
    found = merge({}, [SUITE.format(day="2026-11-20", inside=inside)], root)
    assert found == {"tests/unit/test_a.py": Result(2 - failed, failed, "2026-11-20")}


def test_a_later_run_replaces_an_earlier_one_and_suites_of_one_run_add_up(root: Path) -> None:
    suites = [SUITE.format(day="2026-11-20", inside=""), SUITE.format(day="2026-11-21", inside="<failure/>")]
    old = {"tests/unit/test_a.py": Result(9, 9, "2026-01-01"), "tests/unit/test_gone.py": Result(1, 0, "x")}
    assert merge(old, suites, root) == {"tests/unit/test_a.py": Result(3, 1, "2026-11-21")}


def test_results_read_back() -> None:
    assert read_results(write_results(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("states", "says"),
    [
        (STATES.replace("[B-1]", "[B-2]"), "B-1, B-2"),
        (STATES.replace('"not yet"', '"nearly"'), "state is one of"),
        (STATES.replace('tests = ["tests/unit/test_a.py"]', ""), "names its tests"),
        (STATES.replace("where =", "were ="), "unknown key were"),
    ],
)
def test_claims_that_do_not_fit_are_refused(states: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_claims(REQUIREMENTS, states)
