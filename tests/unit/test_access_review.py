"""What a registrar refuses of access requests before it signs anything: who, when, and how often."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.adapters.access_book_file import AccessBookFile
from pipeline.core.access_book import AccessBook, GivenToken, Token, parse_token, token_text
from pipeline.core.errors import ConfigError
from pipeline.core.sealing import Suite
from pipeline.core.state import ChainState, Site
from pipeline.services.access import AccessRequest, Moment, read_request, write_request
from pipeline.services.access_policy import AccessPolicy, read_policy
from pipeline.services.access_review import MAX_REQUEST_AGE_MS, MAX_REQUEST_AHEAD_MS, review
from tests.support.world import NOW_MS, TestSite, World, secret

WORLD = World()
BUNDLE = secret("bundle")
TEXT = token_text(secret("id", 16), secret("token"))
SPEED = "LOCAL:TRAFFIC_SPEED"


def token(text: str = TEXT, chain: bytes = WORLD.genesis.chain) -> Token:
    """Return a token on the chain."""
    found = parse_token(text, chain)
    assert found is not None
    return found


def request(
    site: TestSite,
    *,
    backing: Token | None = None,
    bundle: bytes = BUNDLE,
    time_ms: int = NOW_MS,
    nonce: str = "n",
    indicators: tuple[str, ...] = (SPEED,),
    equipment: tuple[bytes, ...] = (),
) -> AccessRequest:
    """Return a checked request."""
    raw = write_request(
        WORLD.genesis,
        site.name,
        site.signer,
        suites=(site.suite,),
        indicators=indicators,
        moment=Moment(secret(nonce), time_ms),
        equipment=equipment,
        token=backing,
        bundle=bundle,
    )
    return read_request(raw, WORLD.genesis)


def book(site: TestSite, expires_ms: int = NOW_MS + 1000) -> AccessBook:
    """Return a book with one token, for a site."""
    return AccessBook().giving(GivenToken(token(), site.name, BUNDLE, expires_ms))


def state_with(*sites: Site) -> ChainState:
    """Return a state with these registry entries."""
    state = ChainState(WORLD.genesis)
    state.tables.sites.update({site.name: site for site in sites})
    return state


def entry(site: TestSite, *, active: bool = True) -> Site:
    """Return a site's registry entry."""
    return Site(site.name, site.signer.public, (site.suite,), (SPEED,), (), active=active)


def judged(
    asked: AccessRequest,
    held: AccessBook,
    *sites: Site,
    now_ms: int = NOW_MS,
    policy: AccessPolicy | None = None,
    keys: tuple[bytes, ...] = (),
) -> AccessBook:
    """Review a request against a registry in which these sites are, and these keys once were."""
    known = {*keys, *(site.key.fingerprint for site in sites)}
    return review(asked, held, state_with(*sites), known_keys=known, now_ms=now_ms, policy=policy)


def refusal(asked: AccessRequest, held: AccessBook, *sites: Site, **terms: object) -> str:
    """Return the code of the refusal."""
    with pytest.raises(ConfigError, match="access request refused") as caught:
        judged(asked, held, *sites, **terms)  # type: ignore[arg-type]
    return caught.value.code


POLICY = AccessPolicy(frozenset({"US/unlocode:USMES"}), frozenset({SPEED}), frozenset({Suite.LIGHT}))
SITE, OTHER = WORLD.site(1), WORLD.site(2)


def test_a_token_backs_one_request_and_may_back_the_same_one_again() -> None:
    asked = request(SITE, backing=token())
    once = judged(asked, book(SITE))
    assert once.tokens[token().token_id].used_by == asked.digest
    assert judged(asked, once) == once


def test_a_used_token_backs_no_second_request() -> None:
    once = judged(request(SITE, backing=token()), book(SITE))
    later = request(SITE, backing=token(), nonce="other", time_ms=NOW_MS + 1)
    assert refusal(later, once) == "config.access_token"


def test_a_token_counts_for_the_site_that_it_was_given_to_alone() -> None:
    assert refusal(request(OTHER, backing=token()), book(SITE)) == "config.access_token"


def test_a_token_that_was_never_given_out_counts_for_nothing() -> None:
    assert refusal(request(SITE, backing=token()), AccessBook()) == "config.access_token"


def test_a_token_of_another_secret_under_a_known_identifier_counts_for_nothing() -> None:
    forged = token(token_text(secret("id", 16), secret("guess")))
    assert refusal(request(SITE, backing=forged), book(SITE)) == "config.access_token"


def test_a_token_expires() -> None:
    asked = request(SITE, backing=token())
    assert refusal(asked, book(SITE), now_ms=NOW_MS + 1001) == "config.access_token"


def test_a_decision_may_be_completed_after_its_token_has_expired() -> None:
    asked = request(SITE, backing=token())
    once = judged(asked, book(SITE))
    assert judged(asked, once, now_ms=NOW_MS + 1001) == once


def test_a_site_with_another_bundle_than_the_token_came_with_is_refused() -> None:
    asked = request(SITE, backing=token(), bundle=secret("rogue"))
    assert refusal(asked, book(SITE)) == "config.access_token"


def test_a_new_token_of_a_site_ends_its_unused_one() -> None:
    newer = token(token_text(secret("id2", 16), secret("token2")))
    held = book(SITE).giving(GivenToken(newer, SITE.name, BUNDLE, NOW_MS + 1000))
    assert refusal(request(SITE, backing=token()), held) == "config.access_token"
    assert judged(request(SITE, backing=newer), held)


def test_a_token_is_worth_nothing_on_another_chain() -> None:
    other = token(chain=bytes(32))
    assert other.mac_key != token().mac_key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "bkdms-token.v1.00.00",
        TEXT[:-2],
        TEXT + "00",
        TEXT.replace("v1", "v2"),
        f"x{TEXT}",
        TEXT + ".00",
        TEXT.removeprefix("bkdms-token.v1."),
    ],
)
def test_what_is_no_token_is_none(text: str) -> None:
    assert parse_token(text, WORLD.genesis.chain) is None


@pytest.mark.parametrize(
    "now_ms", [NOW_MS + MAX_REQUEST_AGE_MS + 1, NOW_MS - MAX_REQUEST_AHEAD_MS - 1], ids=["old", "ahead"]
)
def test_a_request_counts_around_its_time_alone(now_ms: int) -> None:
    assert refusal(request(SITE), AccessBook(), now_ms=now_ms) == "config.access_expired"


@pytest.mark.parametrize("now_ms", [NOW_MS + MAX_REQUEST_AGE_MS, NOW_MS - MAX_REQUEST_AHEAD_MS])
def test_a_request_counts_up_to_its_bounds(now_ms: int) -> None:
    assert judged(request(SITE), AccessBook(), now_ms=now_ms).requests


def test_an_older_request_than_the_one_answered_last_is_refused() -> None:
    held = judged(request(SITE), AccessBook())
    older = request(SITE, nonce="older", time_ms=NOW_MS - 1)
    assert refusal(older, held) == "config.access_replayed"


def test_a_revoked_key_does_not_come_back() -> None:
    assert refusal(request(SITE), AccessBook(), entry(SITE, active=False)) == "config.access_key"


def test_an_answered_request_sent_again_after_the_revocation_is_refused() -> None:
    asked = request(SITE, backing=token())
    once = judged(asked, book(SITE))
    assert refusal(asked, once, entry(SITE, active=False)) == "config.access_key"


def test_a_replaced_key_does_not_come_back() -> None:
    """The site has another key by now; that the ledger once had this one is enough."""
    renewed = replace(OTHER, name=SITE.name)
    fingerprint = SITE.signer.public.fingerprint
    assert refusal(request(SITE), AccessBook(), entry(renewed), keys=(fingerprint,)) == "config.access_key"


def test_the_key_of_another_site_is_refused() -> None:
    thief = replace(SITE, name=OTHER.name)
    assert refusal(request(thief), AccessBook(), entry(SITE)) == "config.access_key"


def test_a_person_may_have_an_answer_written_once_more_a_policy_may_not() -> None:
    asked = request(SITE, backing=token())
    once = judged(asked, book(SITE), policy=POLICY)
    assert judged(asked, once, entry(SITE)) == once
    assert refusal(asked, once, entry(SITE), policy=POLICY) == "config.access_replayed"


def test_a_policy_needs_a_token() -> None:
    assert refusal(request(SITE), AccessBook(), policy=POLICY) == "config.access_token"


@pytest.mark.parametrize(
    "asked",
    [
        request(SITE, backing=token(), indicators=(SPEED, "LOCAL:OTHER")),
        request(WORLD.site(1, Suite.XWING), backing=token()),
        request(SITE, backing=token(), equipment=(bytes(16),)),
        request(replace(SITE, name=SITE.name._replace(city="unlocode:USNYC")), backing=token()),
    ],
    ids=["indicator", "suite", "equipment", "city"],
)
def test_what_is_beyond_the_policy_is_left_to_a_person(asked: AccessRequest) -> None:
    held = AccessBook().giving(GivenToken(token(), asked.site, BUNDLE, NOW_MS + 1000))
    assert refusal(asked, held, policy=POLICY) == "config.access_policy"
    assert judged(asked, held)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({}, "suites"),
        ({"cities": [], "indicators": ["a"], "suites": ["light"]}, "cities"),
        ({"cities": ["US/x"], "indicators": ["a"], "suites": ["rot13"]}, "rot13"),
        (
            {"cities": ["US/x"], "indicators": ["a"], "suites": ["light"], "max_equipment": True},
            "max_equipment",
        ),
        ({"cities": ["US/x"], "indicators": ["a"], "suites": ["light"], "citys": []}, "citys"),
    ],
)
def test_a_wrong_policy_is_named(document: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_policy(document)


def test_a_policy_file_says_what_it_says() -> None:
    document = {"cities": ["US/unlocode:USMES"], "indicators": [SPEED], "suites": ["light"]}
    assert read_policy(document) == POLICY


def test_a_book_is_the_same_after_a_restart(tmp_path: Path) -> None:
    held = judged(request(SITE, backing=token()), book(SITE))
    file = AccessBookFile(tmp_path / "registrar.json", WORLD.genesis.chain)
    assert file.load() == AccessBook()
    file.save(held)
    assert AccessBookFile(tmp_path / "registrar.json", WORLD.genesis.chain).load() == held
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert TEXT.rpartition(".")[2] not in file.path.read_text()


@pytest.mark.parametrize("content", ["", "[]", '{"format": "bkdms-access-book/v1"}'])
def test_a_damaged_book_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    file = AccessBookFile(tmp_path / "registrar.json", WORLD.genesis.chain)
    file.path.write_text(content)
    file.path.chmod(0o600)
    with pytest.raises(ConfigError, match="restore it from a backup, or delete it"):
        file.load()


def test_the_last_request_of_a_site_with_its_key_is_found() -> None:
    first, second = request(SITE), request(SITE, nonce="second", time_ms=NOW_MS + 5)
    held = judged(second, judged(first, AccessBook()))
    assert held.last_request(SITE.name, SITE.signer.public.fingerprint) == second.digest
    assert held.last_request(SITE.name, OTHER.signer.public.fingerprint) is None
