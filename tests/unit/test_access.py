"""Access requests and answers: what is signed, and by whom."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.core.contract import Contract
from pipeline.core.control import possession_message
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.sealing import Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import Offer
from pipeline.services import access
from pipeline.services.access import AccessAnswer, read_answer, read_request, write_answer, write_request
from tests.support.world import TestSite, World, secret, site_name

WORLD = World()
OTHER_WORLD = World(contract=Contract(period_ms=2000))
WANTED = ("LOCAL:TRAFFIC_SPEED", "LOCAL:TRAVEL_TIME")


def request_of(site: TestSite) -> bytes:
    """Return a site's request."""
    return write_request(WORLD.genesis, site.name, site.signer, suites=(site.suite,), indicators=WANTED)


def answer_of(site: TestSite) -> AccessAnswer:
    """Return an answer for a site."""
    offers = (Offer(1, site.platform_key.public, MAX_TIME_MS),)
    fingerprint = site.signer.public.fingerprint
    return AccessAnswer(WORLD.genesis.chain, site.name, fingerprint, (site.suite,), WANTED, (), offers)


def edited(raw: bytes, **changes: Any) -> bytes:
    """Return a document with other content under its old signature."""
    document = json.loads(raw)
    document["content"] |= changes
    return json.dumps(document).encode()


@pytest.mark.parametrize("suite", list(Suite))
def test_a_request_says_what_the_site_asked_for(suite: Suite) -> None:
    site = WORLD.site(1, suite)
    request = read_request(request_of(site), WORLD.genesis)
    assert (request.site, request.key, request.suites) == (site.name, site.signer.public, (suite,))
    assert request.indicators == WANTED


@pytest.mark.parametrize(
    "change",
    [
        {"indicators": ["LOCAL:OTHER"]},
        {"city": "unlocode:USNYC"},
        {"site_id": "fd00::2"},
        {"equipment": ["fd00::3"]},
        {"suites": ["xwing"]},
        {"public": World().site(9).signer.public.raw.hex()},
        {"added": "x"},
    ],
)
def test_a_request_changed_on_the_way_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="its signature is not good"):
        read_request(edited(request_of(WORLD.site(1)), **change), WORLD.genesis)


def test_a_request_for_another_chain_is_refused() -> None:
    with pytest.raises(ConfigError, match="for another chain"):
        read_request(request_of(WORLD.site(1)), OTHER_WORLD.genesis)


def test_a_proof_for_another_chain_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature of the document is good; the proof of possession was made for another chain."""
    site = WORLD.site(1)

    def elsewhere(_chain: bytes, *rest: Any) -> bytes:
        return possession_message(OTHER_WORLD.genesis.chain, *rest)

    monkeypatch.setattr(access, "possession_message", elsewhere)
    raw = request_of(site)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="does not prove"):
        read_request(raw, WORLD.genesis)


def test_a_suite_that_the_key_can_not_sign_for_is_refused_at_the_site() -> None:
    site = WORLD.site(1)
    with pytest.raises(ConfigError, match="suite p256"):
        write_request(
            WORLD.genesis, site.name, site.signer, suites=(Suite.LIGHT, Suite.P256), indicators=WANTED
        )


@pytest.mark.parametrize("indicators", [(), ("two  spaces",), ("tab\t",), tuple(f"I{i}" for i in range(257))])
def test_indicators_must_be_indicators(indicators: tuple[str, ...]) -> None:
    site = WORLD.site(1)
    with pytest.raises(ConfigError, match="list of indicators"):
        write_request(WORLD.genesis, site.name, site.signer, suites=(site.suite,), indicators=indicators)


def test_an_answer_gives_the_site_its_rights_and_keys() -> None:
    site = WORLD.site(1)
    answer = read_answer(write_answer(answer_of(site), WORLD.registrar), WORLD.genesis)
    assert answer == answer_of(site)
    offer = answer.offer_for(site.suite)
    assert offer is not None
    assert offer.key == site.platform_key.public
    assert answer.offer_for(Suite.XWING) is None


def test_the_newest_fitting_offer_is_used() -> None:
    old, new = WORLD.site(1), WORLD.site(2)
    offers = tuple(Offer(epoch, site.platform_key.public, 1) for epoch, site in ((1, old), (2, new)))
    answer = AccessAnswer(WORLD.genesis.chain, site_name(1), bytes(32), (old.suite,), WANTED, (), offers)
    chosen = answer.offer_for(old.suite)
    assert chosen is not None
    assert chosen.epoch == 2


def test_only_a_registrar_of_the_chain_can_answer() -> None:
    """Whoever puts another platform key into the answer could read what the site sends."""
    mallory = Ed25519Signer(secret("mallory"), Use.REGISTRAR)
    with pytest.raises(ConfigError, match="no registrar of this chain signed it"):
        read_answer(write_answer(answer_of(WORLD.site(1)), mallory), WORLD.genesis)


def test_a_changed_answer_is_refused() -> None:
    raw = write_answer(answer_of(WORLD.site(1)), WORLD.registrar)
    offers = json.loads(raw)["content"]["offers"]
    offers[0]["public"] = WORLD.site(2).platform_key.public.raw.hex()
    with pytest.raises(ConfigError, match="no registrar of this chain signed it"):
        read_answer(edited(raw, offers=offers), WORLD.genesis)


def test_an_answer_of_another_chain_is_refused() -> None:
    with pytest.raises(ConfigError, match="another chain"):
        read_answer(write_answer(answer_of(WORLD.site(1)), WORLD.registrar), OTHER_WORLD.genesis)


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"[]", b"null", b"{}", b"[" * 200_000, b'{"content": 1, "signature": "00"}']
)
@pytest.mark.parametrize("read", [read_request, read_answer])
def test_other_bytes_are_refused(read: Callable[..., object], raw: bytes) -> None:
    with pytest.raises(ConfigError, match="refused"):
        read(raw, WORLD.genesis)


@pytest.mark.parametrize(
    "field", ["chain", "country", "site_id", "suites", "indicators", "public", "possession"]
)
@pytest.mark.parametrize("value", [None, 3, "zz", [], ["x"], {}])
def test_a_field_of_another_kind_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match="refused"):
        read_request(edited(request_of(WORLD.site(1)), **{field: value}), WORLD.genesis)


def test_a_request_is_no_answer() -> None:
    with pytest.raises(ConfigError, match="its format is not"):
        read_answer(request_of(WORLD.site(1)), WORLD.genesis)
