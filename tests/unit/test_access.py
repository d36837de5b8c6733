"""Access requests and answers: what is signed, and by whom."""

import json
from collections.abc import Callable
from dataclasses import replace
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
from pipeline.services.access import (
    AccessAnswer,
    check_fit,
    read_answer,
    read_request,
    write_answer,
    write_request,
)
from pipeline.services.access_fields import Manifest
from tests.support.access import MOMENT
from tests.support.access import request_of as document_of
from tests.support.world import NOW_MS, TestSite, World, secret, site_name

WORLD = World()
OTHER_WORLD = World(contract=Contract(period_ms=2000))
WANTED = ("LOCAL:TRAFFIC_SPEED", "LOCAL:TRAVEL_TIME")


def request_of(site: TestSite) -> bytes:
    """Return a site's request."""
    return document_of(WORLD.genesis, site, *WANTED)


def answer_of(site: TestSite) -> AccessAnswer:
    """Return an answer for a site."""
    offers = (Offer(1, site.platform_key.public, MAX_TIME_MS),)
    fingerprint = site.signer.public.fingerprint
    request = read_request(request_of(site), WORLD.genesis).digest
    return AccessAnswer(
        WORLD.genesis.chain,
        site.name,
        fingerprint,
        (site.suite,),
        WANTED,
        (),
        offers,
        request,
        NOW_MS,
        NOW_MS + 1000,
    )


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
            WORLD.genesis,
            site.name,
            site.signer,
            suites=(Suite.LIGHT, Suite.P256),
            indicators=WANTED,
            moment=MOMENT,
        )


@pytest.mark.parametrize("indicators", [(), ("two  spaces",), ("tab\t",), tuple(f"I{i}" for i in range(257))])
def test_indicators_must_be_indicators(indicators: tuple[str, ...]) -> None:
    site = WORLD.site(1)
    with pytest.raises(ConfigError, match="list of indicators"):
        write_request(
            WORLD.genesis, site.name, site.signer, suites=(site.suite,), indicators=indicators, moment=MOMENT
        )


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
    answer = replace(answer_of(old), offers=offers)
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


def test_a_request_carries_what_is_at_the_site() -> None:
    site = WORLD.site(1)
    manifest = Manifest("0.1.0", ("module-1",), ("loop-1", "loop-2"), (Suite.LIGHT,))
    raw = write_request(
        WORLD.genesis,
        site.name,
        site.signer,
        suites=(site.suite,),
        indicators=WANTED,
        moment=MOMENT,
        manifest=manifest,
    )
    assert read_request(raw, WORLD.genesis).manifest == manifest


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest("two words"),
        Manifest(sensors=("\x1b[2J",)),
        Manifest(modules=("<script>" * 9,)),
        Manifest(sensors=tuple(map(str, range(257)))),
    ],
    ids=["space", "escape", "long", "many"],
)
def test_a_manifest_holds_plain_short_words_alone(manifest: Manifest) -> None:
    site = WORLD.site(1)
    with pytest.raises(ConfigError, match="manifest is missing or wrong"):
        write_request(
            WORLD.genesis,
            site.name,
            site.signer,
            suites=(site.suite,),
            indicators=WANTED,
            moment=MOMENT,
            manifest=manifest,
        )


def test_a_refusal_shows_no_control_characters_of_the_document() -> None:
    raw = edited(request_of(WORLD.site(1)), city="\x1b[2J" * 3, suites=["\x1b]0;x\x07"])
    with pytest.raises(ConfigError) as caught:
        read_request(raw, WORLD.genesis)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "raw",
    [b"\x01" + bytes(31), bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")],
)
def test_a_weak_key_is_refused(raw: bytes) -> None:
    """The identity, and a point of order eight."""
    with pytest.raises(ConfigError, match="small order"):
        read_request(edited(request_of(WORLD.site(1)), public=raw.hex()), WORLD.genesis)


def test_a_document_with_more_than_its_format_has_is_refused() -> None:
    document = json.loads(request_of(WORLD.site(1))) | {"note": "00"}
    with pytest.raises(ConfigError, match="more than its format"):
        read_request(json.dumps(document).encode(), WORLD.genesis)


def test_the_former_key_vouches_for_the_new_one() -> None:
    site, renewed = WORLD.site(1), replace(WORLD.site(2), name=WORLD.site(1).name)
    request = read_request(document_of(WORLD.genesis, renewed, former=site), WORLD.genesis)
    assert request.is_endorsed_by(site.signer.public)
    assert not request.is_endorsed_by(WORLD.site(3).signer.public)
    bare = read_request(document_of(WORLD.genesis, renewed), WORLD.genesis)
    assert not bare.is_endorsed_by(site.signer.public)


def test_a_former_key_named_without_its_signature_vouches_for_nothing() -> None:
    site, renewed = WORLD.site(1), replace(WORLD.site(2), name=WORLD.site(1).name)
    document = json.loads(document_of(WORLD.genesis, renewed, former=site))
    del document["former_signature"]
    request = read_request(json.dumps(document).encode(), WORLD.genesis)
    assert not request.is_endorsed_by(site.signer.public)


def checked(answer: AccessAnswer, site: TestSite, now_ms: int = NOW_MS) -> None:
    """Check an answer at a site that made its request."""
    check_fit(answer, read_request(request_of(site), WORLD.genesis), now_ms)


def test_an_answer_to_the_own_request_is_taken_up_until_it_expires() -> None:
    site = WORLD.site(1)
    checked(answer_of(site), site, NOW_MS + 1000)
    with pytest.raises(ConfigError, match="has expired") as caught:
        checked(answer_of(site), site, NOW_MS + 1001)
    assert caught.value.code == "config.access_expired"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"request": bytes(32)}, "another request"),
        ({"site_key": bytes(32)}, "another request"),
        ({"site": site_name(7)}, "it is for"),
        ({"suites": (Suite.LIGHT, Suite.XWING)}, "did not ask for"),
    ],
)
def test_an_answer_that_does_not_fit_the_request_is_refused(change: dict[str, Any], message: str) -> None:
    site = WORLD.site(1)
    with pytest.raises(ConfigError, match=message):
        checked(replace(answer_of(site), **change), site)


def test_an_answer_of_a_registrar_that_was_not_pinned_is_refused() -> None:
    """The bundle pins registrars; one of the genesis file that was replaced since counts no more."""
    raw = write_answer(answer_of(WORLD.site(1)), WORLD.registrar)
    other = Ed25519Signer(secret("successor"), Use.REGISTRAR)
    with pytest.raises(ConfigError, match="no registrar of this chain signed it"):
        read_answer(raw, WORLD.genesis, (other.public,))
    raw = write_answer(answer_of(WORLD.site(1)), other)
    assert read_answer(raw, WORLD.genesis, (other.public,)) == answer_of(WORLD.site(1))
