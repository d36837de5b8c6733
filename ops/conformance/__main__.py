"""Writes the conformance page: ``python -m ops.conformance``, after the tests (`make conformance`).

Takes the results that the suites left in .cache/results into docs/test_results.json, and makes
docs/conformance.md of them, the requirements and what we claim. Exit code 1: a claim's tests are failing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ops.conformance.page import page, shown_state
from ops.conformance.results import Results, merge, read_results, write_results
from ops.conformance.rows import Claim, read_claims
from pipeline.core.errors import ConfigError

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "conformance.md"
RESULTS: Final = ROOT / "docs" / "test_results.json"
SUITES: Final = ROOT / ".cache" / "results"


def claims() -> Sequence[Claim]:
    """Return the claims of this checkout.

    Raises:
        ConfigError: requirements and claims do not fit together.
    """
    folder = Path(__file__).parent
    requirements = (ROOT / "docs" / "requirements.csv").read_text("utf-8")
    return read_claims(requirements, (folder / "states.toml").read_text("utf-8"))


def text(claimed: Sequence[Claim], results: Results) -> str:
    """Return the page of this checkout."""
    return page((Path(__file__).parent / "introduction.md").read_text("utf-8"), claimed, results)


def main() -> int:
    """Take up new results, write the page, and name the claims whose tests fail."""
    try:
        claimed = claims()
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    known = read_results(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    suites = [path.read_text("utf-8") for path in sorted(SUITES.glob("*.xml"))]
    results = merge(known, suites, ROOT)
    RESULTS.write_text(write_results(results), "utf-8")
    PAGE.write_text(text(claimed, results), "utf-8")
    failing = [claim.id for claim in claimed if "failing" in shown_state(claim, results)]
    said = f"{PAGE.relative_to(ROOT)}: {len(claimed)} requirements, results of {len(suites)} suites taken up"
    sys.stdout.write(said + "\n")
    if failing:
        sys.stderr.write(f"tests are failing of {', '.join(failing)}\n")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
