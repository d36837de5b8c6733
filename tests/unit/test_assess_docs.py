"""The page about analysis says what the code does."""

import re
import tomllib
from pathlib import Path

import pytest

from pipeline.core.assess.formulas import FORMULAS
from pipeline.core.assess.model import MAX_TRACING_CODES, Finding, Kind, Period
from pipeline.core.assess.plan_reader import read_plan

PAGE = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text("utf-8")


@pytest.mark.parametrize("name", FORMULAS)
def test_every_formula_is_explained_in_the_same_words(name: str) -> None:
    assert re.search(rf"\| `{name}` \| {re.escape(FORMULAS[name].text)}", PAGE)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_explained(kind: Kind) -> None:
    assert f"`{kind.value}`" in PAGE


@pytest.mark.parametrize("finding", [finding for finding in Finding if finding])
def test_every_finding_is_explained(finding: Finding) -> None:
    assert f"`{finding.value}`" in PAGE


def test_the_plan_on_the_page_is_one() -> None:
    text = PAGE.split("```toml\n")[1].split("```")[0]
    plan = read_plan(tomllib.loads(text))
    assert plan.cities[0].windows == (Period.DAY, Period.MONTH, Period.YEAR)
    assert (len(plan.cities[0].report), plan.other.windows) == (55, (Period.MONTH,))


def test_the_bound_on_tracing_codes_is_named() -> None:
    assert f"The first {MAX_TRACING_CODES} codes in sorted order" in PAGE
