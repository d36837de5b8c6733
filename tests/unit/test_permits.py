"""Permits: a scope grants what it spells out and nothing beside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.tls.principal import MAX_NAME_CHARACTERS, Role
from ops.tls.site_principal import site_principal
from pipeline.core.names import SiteName
from pipeline.core.permit import FIELDS, MAX_SCOPES, Action, Permit, everywhere, parse_permit, parse_permits

PLACES = st.one_of(st.none(), st.text(max_size=12))


@given(st.sampled_from(Action), st.data())
def test_a_permit_survives_being_written_into_a_token(action: Action, data: st.DataObject) -> None:
    permit = Permit(action, tuple(data.draw(PLACES) for _ in FIELDS[action]))
    assert parse_permit(str(permit)) == permit
    assert str(permit).isascii()
    assert " " not in str(permit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "assessments",
        "assessments/US",
        "assessments/US/unlocode:USMES",
        "assessments/US/unlocode:USMES/A/B",
        "assessments/US/unlocode%3AUSMES/A",
        "assessments/%2a/*/*",
        "assessments/%FF/*/*",
        "Assessments/*/*/*",
        "traces/",
        "*",
        "everything/*/*/*",
        "openid",
    ],
)
def test_other_spellings_permit_nothing(text: str) -> None:
    assert parse_permit(text) is None


def test_a_token_of_somebody_elses_scopes_permits_nothing() -> None:
    assert parse_permits("openid profile offline_access") == frozenset()


def test_a_token_with_too_many_scopes_is_refused() -> None:
    with pytest.raises(ValueError, match="scopes"):
        parse_permits(" ".join(["traces"] * (MAX_SCOPES + 1)))


@pytest.mark.parametrize("mine", [("US", "c", "A"), ("US", "c", None), ("US", None, "A"), (None, None, None)])
@pytest.mark.parametrize("asked", [("US", "c", "A"), ("US", "c", "B"), ("US", "d", "A"), ("DE", "c", "A")])
@pytest.mark.parametrize("left_out", [None, 0, 1, 2])
def test_a_permit_covers_what_it_names_and_no_more(
    mine: tuple[str | None, ...], asked: tuple[str, ...], left_out: int | None
) -> None:
    where = tuple(None if i == left_out else part for i, part in enumerate(asked))
    expected = all(m is None or m == a for m, a in zip(mine, where, strict=True))
    assert Permit(Action.ASSESSMENTS, mine).covers(Action.ASSESSMENTS, where) is expected


def test_no_action_covers_another() -> None:
    for mine in Action:
        for asked in Action:
            where = (None,) * len(FIELDS[asked])
            assert everywhere(mine).covers(asked, where) is (mine is asked)


def test_sites_that_differ_in_any_part_have_different_certificates() -> None:
    names = [
        SiteName("US", "unlocode:USMES", bytes(16)),
        SiteName("DE", "unlocode:USMES", bytes(16)),
        SiteName("US", "unlocode:USMEZ", bytes(16)),
        SiteName("US", "unlocode:USMES", bytes(15) + b"\x01"),
    ]
    found = {site_principal(name) for name in names}
    assert len(found) == len(names)
    assert all(principal.role is Role.SITE for principal in found)
    assert all(len(principal.name) <= MAX_NAME_CHARACTERS for principal in found)
