"""Requirements of both Recommendations and what we claim for each. Owns reading and checking, no rendering."""

import csv
import io
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipeline.core.errors import ConfigError


class State(StrEnum):
    """How far a requirement is met."""

    SUPPORTED = "supported"
    PARTLY = "partly"
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class Claim:
    """One requirement with our claim: where it is met and what is missing, and the test files that cover it."""

    id: str
    clause: str
    level: str
    requirement: str
    state: State
    where: str
    tests: tuple[str, ...]

    @property
    def standard(self) -> str:
        """The Recommendation that the clause is of, such as ``Y.4907``."""
        return self.clause.split()[0]


_STANDARDS: Final = {"A": "Y.4907", "B": "Y.4810"}
_FIELDS: Final = {"state", "where", "tests"}


def read_claims(requirements: str, states: str) -> tuple[Claim, ...]:
    """Join the CSV text of the requirements with the TOML text of what we claim, in the order of the requirements.

    Raises:
        ConfigError: a requirement without a claim, a claim without a requirement, or one that is not well formed.
    """
    rows = list(csv.DictReader(io.StringIO(requirements)))
    claims = tomllib.loads(states)
    wanted = {row["id"] for row in rows}
    if differing := wanted.symmetric_difference(claims):
        raise ConfigError(f"requirements and claims differ: {', '.join(sorted(differing))}")
    return tuple(_claim(row, claims[row["id"]]) for row in rows)


def _claim(row: dict[str, str], claim: dict[str, object]) -> Claim:
    identifier = row["id"]
    if unknown := claim.keys() - _FIELDS:
        raise ConfigError(f"{identifier}: unknown key {', '.join(sorted(unknown))}")
    tests = claim.get("tests", [])
    try:
        state = State(str(claim.get("state")))
    except ValueError:
        raise ConfigError(f"{identifier}: state is one of {', '.join(State)}") from None
    if not isinstance(tests, list):
        raise ConfigError(f"{identifier}: tests is a list of test files")
    if state is State.SUPPORTED and not tests:
        raise ConfigError(f"{identifier}: what is supported names its tests")
    standard = _STANDARDS[identifier[0]]
    clause = row["clause"] if row["clause"].startswith(standard) else f"{standard} {row['clause']}"
    where = str(claim.get("where", ""))
    return Claim(identifier, clause, row["status"], row["requirement_own_words"], state, where, tuple(tests))
