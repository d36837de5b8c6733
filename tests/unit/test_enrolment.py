"""Enrolment at the site: bundle and token in, request out, the answer taken up; what a rogue platform sends is not."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ops.tls.authority import Authority
from ops.tls.request import new_request
from ops.tls.site_principal import site_principal
from pipeline.apps.enrolment import Given, Wish, access_in_force, ask, ask_for_new_key, take_bundle, take_up
from pipeline.apps.site_files import SiteFiles
from pipeline.config import Settings, load_settings
from pipeline.core.access_book import parse_token, token_text
from pipeline.core.contract import Contract
from pipeline.core.errors import ConfigError
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS, site_id_text
from pipeline.core.sealing import Suite
from pipeline.core.signing import Ed25519Signer, Signer
from pipeline.core.state import Offer
from pipeline.services.access import AccessAnswer, read_request, write_answer
from pipeline.services.access_bundle import Platform, read_bundle, write_bundle
from tests.support.world import NOW_MS, World, secret, site_name

WORLD = World()
ROGUE = World(contract=Contract(period_ms=2000))
NAME = site_name(1)
TOKEN = token_text(secret("id", 16), secret("token"))
WISH = Wish((Suite.LIGHT,), ("LOCAL:TRAFFIC_SPEED",), sensors=("loop-1",))


def bundle_of(world: World = WORLD, signer: Signer | None = None, **changes: Any) -> bytes:
    """Return a bundle for the site."""
    platform = Platform("kafka.example:9093", "https://api.example", "", changes.pop("ca", ""))
    return write_bundle(
        world.genesis,
        changes.pop("site", NAME),
        (world.registrar.public,),
        platform,
        signer=signer or world.registrar,
        expires_ms=NOW_MS,
    )


class Place:
    """A site's machine: its settings, and the files that were carried to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bkdms.toml").write_text(
            f'data_dir = "data"\n[site]\ncountry = "{NAME.country}"\ncity = "{NAME.city}"\n'
            f'site_id = "{site_id_text(NAME.site_id)}"\n'
        )

    @property
    def settings(self) -> Settings:
        """The settings, read anew."""
        return load_settings(self.folder / "bkdms.toml")

    @property
    def files(self) -> SiteFiles:
        """What the site keeps."""
        return SiteFiles(self.settings.site.key)

    def given(self, bundle: bytes | None = None, token: str = "") -> Given:
        """Write what was carried here."""
        bundle_file, token_file = self.folder / "b.json", self.folder / "t"
        bundle_file.write_bytes(bundle_of() if bundle is None else bundle)
        if token:
            token_file.write_text(f"{token}\n")
            token_file.chmod(0o600)
        return Given(bundle_file, token_file if token else None)

    def asked(self, bundle: bytes | None = None, token: str = "") -> bytes:
        """Ask for access."""
        return ask(self.settings, WISH, self.given(bundle, token), NOW_MS)[0]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A site's machine."""
    return Place(tmp_path)


def answered(raw: bytes, signer: Signer = WORLD.registrar, **changes: Any) -> bytes:
    """Return a registrar's answer to a request, changed or not."""
    asked = read_request(raw, WORLD.genesis)
    answer = AccessAnswer(
        asked.chain,
        asked.site,
        asked.key.fingerprint,
        asked.suites,
        asked.indicators,
        (),
        (Offer(1, WORLD.site(1).platform_key.public, MAX_TIME_MS),),
        asked.digest,
        NOW_MS,
        NOW_MS + 1000,
    )
    return write_answer(replace(answer, **changes), signer)


def test_a_bundle_puts_the_genesis_file_in_place(place: Place) -> None:
    place.asked()
    assert place.settings.genesis.read_bytes() == WORLD.genesis.raw


def test_a_request_names_the_bundle_and_is_backed_by_the_token(place: Place) -> None:
    request = read_request(place.asked(token=TOKEN), WORLD.genesis)
    token = parse_token(TOKEN, WORLD.genesis.chain)
    assert token is not None
    assert request.is_backed_by(token)
    assert request.bundle == read_bundle(bundle_of()).digest
    assert request.manifest.sensors == ("loop-1",)


def test_the_token_itself_is_nowhere_at_the_site_but_in_its_file(place: Place) -> None:
    place.asked(token=TOKEN)
    held = [path for path in place.folder.rglob("*") if path.is_file() and path.name != "t"]
    assert not [path for path in held if TOKEN.rpartition(".")[2].encode() in path.read_bytes()]


def test_two_requests_are_never_the_same(place: Place) -> None:
    first, second = (read_request(place.asked(), WORLD.genesis) for _ in range(2))
    assert first.moment.nonce != second.moment.nonce


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_token_that_others_can_read_is_refused(place: Place, mode: int) -> None:
    given = place.given(token=TOKEN)
    assert given.token is not None
    given.token.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        ask(place.settings, WISH, given, NOW_MS)


def test_what_is_no_token_is_named_without_showing_it(place: Place) -> None:
    with pytest.raises(ConfigError, match="holds no token") as caught:
        place.asked(token="bkdms-token.v1.secret-words")
    assert "secret-words" not in str(caught.value)


def test_a_bundle_of_another_chain_than_the_genesis_file_is_refused(place: Place) -> None:
    place.asked()
    with pytest.raises(ConfigError, match="another chain") as caught:
        place.asked(bundle_of(ROGUE))
    assert caught.value.code == "config.access_chain"
    assert read_bundle(place.files.bundle.read_bytes()).genesis.chain == WORLD.genesis.chain


def test_a_bundle_for_another_site_is_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match="the bundle is for"):
        place.asked(bundle_of(site=site_name(2)))


def test_a_bundle_changed_on_the_way_is_refused(place: Place) -> None:
    document = json.loads(bundle_of())
    document["content"]["kafka"] = "rogue.example:9093"
    with pytest.raises(ConfigError, match="its signature is not good"):
        place.asked(json.dumps(document).encode())


def test_a_bundle_signed_by_none_of_its_registrars_is_refused() -> None:
    with pytest.raises(ConfigError, match="its signature is not good"):
        bundle_of(signer=Ed25519Signer(secret("mallory"), Use.REGISTRAR))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff", b"[" * 200_000])
def test_what_is_no_bundle_is_refused(place: Place, raw: bytes) -> None:
    with pytest.raises(ConfigError, match="site bundle refused"):
        place.asked(raw)


def test_an_answer_that_fits_is_put_in_force(place: Place) -> None:
    raw = answered(place.asked())
    take_up(place.settings, raw, NOW_MS)
    assert place.settings.site.access.read_bytes() == raw


@pytest.mark.parametrize(
    ("change", "now_ms", "message"),
    [
        (lambda raw: answered(raw, Ed25519Signer(secret("rogue"), Use.REGISTRAR)), NOW_MS, "no registrar"),
        (lambda raw: answered(raw, request=bytes(32)), NOW_MS, "another request"),
        (lambda raw: answered(raw, chain=ROGUE.genesis.chain), NOW_MS, "another chain"),
        (lambda raw: answered(raw, site_key=bytes(32)), NOW_MS, "another request"),
        (answered, NOW_MS + 1001, "expired"),
    ],
    ids=["rogue registrar", "another request", "another chain", "another key", "late"],
)
def test_an_answer_that_does_not_fit_changes_nothing(
    place: Place, change: Callable[[bytes], bytes], now_ms: int, message: str
) -> None:
    raw = change(place.asked())
    with pytest.raises(ConfigError, match=message):
        take_up(place.settings, raw, now_ms)
    assert not place.settings.site.access.exists()


def test_an_answer_without_a_request_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    raw = answered(Place(tmp_path / "other").asked())
    take_bundle(place.settings, place.given().bundle)
    with pytest.raises(ConfigError, match="no request was made here"):
        take_up(place.settings, raw, NOW_MS)


def certified(place: Place, request: bytes, csr: bytes | None = None) -> str:
    """Return the certificate that the transport's authority gives for a request."""
    pki = place.folder / "pki"
    authority = Authority.load(pki) if Authority.exists(pki) else Authority.create(pki, now=datetime.now(UTC))
    wanted = csr or read_request(request, WORLD.genesis).csr.encode()
    return authority.sign(site_principal(NAME), wanted, now=datetime.now(UTC)).decode()


def test_a_transport_certificate_comes_with_the_answer(place: Place) -> None:
    """The key stays at the site; the certificate is in the site's own name."""
    request = place.asked(bundle_of(ca="the root"))
    take_up(place.settings, answered(request, certificate=certified(place, request)), NOW_MS)
    folder = place.files.transport
    certificate = x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert certificate.public_key() == key.public_key()
    assert str(site_principal(NAME)) in certificate.subject.rfc4514_string()
    assert (folder / "ca.pem").read_text() == "the root"
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_certificate_for_another_key_is_refused(place: Place) -> None:
    request = place.asked()
    other = certified(place, request, new_request()[1])
    with pytest.raises(ConfigError, match="not for the key that was asked for"):
        take_up(place.settings, answered(request, certificate=other), NOW_MS)
    assert not place.settings.site.access.exists()


def rotated(place: Place) -> bytes:
    """Let the site in, then ask for a new key."""
    take_up(place.settings, answered(place.asked()), NOW_MS)
    return ask_for_new_key(place.settings, Given(), NOW_MS + 1)[0]


def test_a_new_key_is_asked_for_by_both_keys(place: Place) -> None:
    first = read_request(place.asked(), WORLD.genesis)
    take_up(place.settings, answered(place.files.request.read_bytes()), NOW_MS)
    request = read_request(ask_for_new_key(place.settings, Given(), NOW_MS + 1)[0], WORLD.genesis)
    assert request.key != first.key
    assert request.is_endorsed_by(first.key)


def test_until_the_answer_comes_the_site_keeps_its_key(place: Place) -> None:
    place.asked()
    before = place.files.key.read_bytes()
    rotated(place)
    assert place.files.next_key.exists()
    assert place.files.key.read_bytes() == before


def test_the_answer_changes_the_keys_and_keeps_the_former(place: Place) -> None:
    request = rotated(place)
    old, new = place.files.key.read_bytes(), place.files.next_key.read_bytes()
    take_up(place.settings, answered(request), NOW_MS)
    assert (place.files.key.read_bytes(), place.files.former_key.read_bytes()) == (new, old)
    assert not place.files.next_key.exists()
    assert place.files.request.read_bytes() == request


@pytest.mark.parametrize("moved", [False, True], ids=["before the key moved", "after"])
def test_taking_up_a_new_key_goes_on_after_a_crash(place: Place, moved: bool) -> None:
    request = rotated(place)
    old, new = place.files.key.read_bytes(), place.files.next_key.read_bytes()
    raw = answered(request)
    place.settings.site.access.write_bytes(raw)
    if moved:
        place.files.former_key.write_bytes(old)
        place.files.next_key.replace(place.files.key)
    take_up(place.settings, raw, NOW_MS)
    assert (place.files.key.read_bytes(), place.files.former_key.read_bytes()) == (new, old)


def test_an_answer_to_the_first_request_does_not_bring_the_new_key(place: Place) -> None:
    rotated(place)
    old = place.files.key.read_bytes()
    take_up(place.settings, answered(place.files.request.read_bytes()), NOW_MS)
    assert place.files.key.read_bytes() == old
    assert place.files.next_key.exists()


def test_a_site_that_was_not_let_in_can_not_change_its_key(place: Place) -> None:
    place.asked()
    with pytest.raises(ConfigError, match=r"access\.json"):
        ask_for_new_key(place.settings, Given(), NOW_MS)


def test_an_answer_put_there_by_hand_must_be_to_the_request_made_here(place: Place) -> None:
    raw = place.asked()
    access = place.settings.site.access
    access.write_bytes(answered(raw))
    assert access_in_force(place.settings.site, WORLD.genesis).site == NAME
    access.write_bytes(answered(raw, request=bytes(32)))
    with pytest.raises(ConfigError, match="answers another request"):
        access_in_force(place.settings.site, WORLD.genesis)


def test_a_site_whose_first_request_was_not_kept_works_on_while_its_key_is_replaced(place: Place) -> None:
    rotated(place)
    place.files.request.unlink()
    assert access_in_force(place.settings.site, WORLD.genesis).site == NAME


def test_an_answer_put_there_by_hand_must_be_by_a_registrar_of_the_bundle(place: Place) -> None:
    raw = place.asked()
    place.settings.site.access.write_bytes(answered(raw, Ed25519Signer(secret("rogue"), Use.REGISTRAR)))
    with pytest.raises(ConfigError, match="no registrar of this chain signed it"):
        access_in_force(place.settings.site, WORLD.genesis)
