"""The text of the conformance page. Owns layout, no files."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from ops.conformance.results import Result, Results
from ops.conformance.rows import Claim, State

_TITLES: Final = {"Y.4907": "Y.4907", "Y.4810": "Y.4810, data security of heterogeneous IoT devices"}
_HEAD: Final = (
    "| id | clause | level | requirement | state | where, and what is missing | tests | last result |\n"
    "|---|---|---|---|---|---|---|---|"
)
COUNTS_MARK: Final = "<!-- counts -->"


def page(introduction: str, claims: Sequence[Claim], results: Results) -> str:
    """Return the whole page; the line ``COUNTS_MARK`` of the introduction gives way to the counts of states."""
    parts = [introduction.rstrip().replace(COUNTS_MARK, _counts(claims, results))]
    for standard, title in _TITLES.items():
        rows = (_row(claim, results) for claim in claims if claim.standard == standard)
        parts.append("\n".join((f"## {title}", _HEAD, *rows)))
    return "\n\n".join(parts) + "\n"


def shown_state(claim: Claim, results: Results) -> str:
    """Return the state as shown: a claim whose tests failed, or never ran, says so."""
    if not claim.tests:
        return claim.state.value
    last = [results.get(path) for path in claim.tests]
    if any(result is not None and result.failed for result in last):
        return f"{claim.state.value}, tests failing"
    if claim.state is State.SUPPORTED and any(result is None for result in last):
        return f"{claim.state.value}, not all tests run"
    return claim.state.value


def _counts(claims: Sequence[Claim], results: Results) -> str:
    lines = []
    for standard in _TITLES:
        states = Counter(shown_state(claim, results) for claim in claims if claim.standard == standard)
        told = ", ".join(
            f"{states[state]} {state}" for state in (*State, *sorted(states.keys() - set(State)))
        )
        lines.append(f"{standard}: {told}.")
    return " ".join(lines)


def _row(claim: Claim, results: Results) -> str:
    clause = claim.clause.removeprefix(claim.standard).strip()
    tests = " ".join(f"`{path}`" for path in claim.tests)
    cells = (
        claim.id,
        clause,
        claim.level,
        claim.requirement,
        f"**{shown_state(claim, results)}**",
        claim.where,
    )
    return f"| {' | '.join((*cells, tests, _last(claim.tests, results)))} |"


def _last(tests: Iterable[str], results: Results) -> str:
    paths = list(tests)
    found: list[Result] = [results[path] for path in paths if path in results]
    if not paths:
        return ""
    if not found:
        return "not run yet"
    passed, failed = sum(result.passed for result in found), sum(result.failed for result in found)
    told = [f"{passed} passed"] + ([f"{failed} failed"] if failed else [])
    missing = len(paths) - len(found)
    told += [f"{missing} {'file' if missing == 1 else 'files'} not run yet"] if missing else []
    return f"{', '.join(told)} ({max(result.day for result in found)})"
