"""A site's side of enrolment: asking by what it was given out of band, and taking up the answer.

What a rogue platform sends is refused here: the chain, the registrars and the transport's CA are those of the bundle.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from secrets import token_bytes

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ops.tls.request import new_request
from pipeline.adapters.private_files import create_private, read_private, replace_private
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.values import read_file
from pipeline.apps.keys import key_files
from pipeline.apps.site_files import SiteFiles
from pipeline.config import Settings
from pipeline.config.sections import SiteSettings
from pipeline.core.access_book import Token, parse_token
from pipeline.core.errors import ConfigError
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey, Use
from pipeline.core.sealing import SIGNING_ALGORITHM, Suite
from pipeline.core.signing import Signer
from pipeline.services.access import (
    NONCE_BYTES,
    AccessAnswer,
    AccessRequest,
    Moment,
    check_fit,
    read_answer,
    read_request,
    write_request,
)
from pipeline.services.access_bundle import Bundle, read_bundle
from pipeline.services.access_envelope import MAX_DOCUMENT_BYTES
from pipeline.services.access_fields import Manifest

_MAX_TOKEN_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Wish:
    """What a site wants to be granted, and which of its sensors there are."""

    suites: tuple[Suite, ...]
    indicators: tuple[str, ...]
    equipment: tuple[bytes, ...] = ()
    sensors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """What a site was given out of band: bundle and token, in files; None for what it has not got."""

    bundle: Path | None = None
    token: Path | None = None


def take_bundle(settings: Settings, file: Path | None) -> Bundle | None:
    """Keep a bundle for good and put its genesis file in place; without ``file``, return the one kept before.

    Raises:
        ConfigError: the bundle is damaged, for another site, or of another chain than the genesis file that is there.
    """
    files = SiteFiles(settings.site.key)
    if file is None and not files.bundle.exists():
        return None
    raw = read_file(file or files.bundle)
    bundle = read_bundle(raw)
    if bundle.site != settings.site.name():
        raise ConfigError(f"the bundle is for {bundle.site}, not {settings.site.name()}; use this site's")
    if not settings.genesis.exists():
        create_private(settings.genesis, bundle.genesis.raw)
    if load_genesis(settings.genesis).chain != bundle.genesis.chain:
        raise ConfigError(
            f"the bundle is of another chain than {settings.genesis}; find out which of them is the right one "
            "before anything else",
            code="config.access_chain",
        )
    if file is not None:
        replace_private(files.bundle, raw)
    return bundle


def ask(settings: Settings, wish: Wish, given: Given, now_ms: int) -> tuple[bytes, PublicKey]:
    """Make the site's key if there is none, and return its request for access with that key; the request is kept.

    Raises:
        ConfigError: a setting, bundle or token is missing or wrong.
    """
    files, _ = SiteFiles(settings.site.key), settings.site.name()
    bundle = take_bundle(settings, given.bundle)
    genesis = load_genesis(settings.genesis)
    algorithm = SIGNING_ALGORITHM[wish.suites[0]]
    signer = key_files(settings, at_site=True).signer_or_new(settings.site.key, Use.SITE, algorithm)
    means = _Means(genesis, _token(given, genesis), bundle)
    raw = _request(settings, signer, wish, means, now_ms)
    replace_private(files.request, raw)
    return raw, signer.public


def ask_for_new_key(settings: Settings, given: Given, now_ms: int) -> tuple[bytes, PublicKey]:
    """Make the key that is to replace the site's, and return the request for it, backed by both; it is kept.

    The site goes on with its present key until the answer is taken up.

    Raises:
        ConfigError: the site was not let in yet, or a setting or token is missing or wrong.
    """
    files, genesis = SiteFiles(settings.site.key), load_genesis(settings.genesis)
    bundle = take_bundle(settings, given.bundle)
    answer = access_in_force(settings.site, genesis)
    keys = key_files(settings, at_site=True)
    former = keys.signer(settings.site.key, Use.SITE)
    wish = Wish(answer.suites, answer.indicators, answer.equipment)
    signer = keys.signer_or_new(files.next_key, Use.SITE, former.public.algorithm)
    means = _Means(genesis, _token(given, genesis), bundle, former)
    raw = _request(settings, signer, wish, means, now_ms)
    replace_private(files.next_request, raw)
    return raw, signer.public


def take_up(settings: Settings, raw: bytes, now_ms: int) -> AccessAnswer:
    """Check an answer against the request that was made here and the bundle, and put it, and what it brings, in force.

    Raises:
        ConfigError: it is not for this request, late, or not by a registrar that the site pinned.
    """
    files, genesis = SiteFiles(settings.site.key), load_genesis(settings.genesis)
    bundle = take_bundle(settings, None)
    answer = read_answer(raw, genesis, _pinned(bundle))
    made = _made_here(files, genesis)
    if not made:
        raise ConfigError(
            f"no request was made here ({files.request}); begin with `bkdms site request`",
            code="config.access_request",
        )
    request = next((item for item in made if item.digest == answer.request), made[0])
    check_fit(answer, request, now_ms)
    if answer.certificate:
        _check_certificate(answer, files)
    replace_private(settings.site.access, raw)
    if request.former:
        files.take_up_key()
    if answer.certificate:
        files.take_up_certificate(answer.certificate, bundle.platform.transport_ca if bundle else "")
    return answer


def access_in_force(site: SiteSettings, genesis: Genesis) -> AccessAnswer:
    """Return the answer that the site works by, checked again: by pinned registrars, to a request made here.

    That it was taken up in time was checked then.

    Raises:
        ConfigError: there is none, or it is not for this site's request or by its registrars.
    """
    files = SiteFiles(site.key)
    bundle = read_bundle(read_file(files.bundle)) if files.bundle.exists() else None
    answer = read_answer(read_file(site.access), genesis, _pinned(bundle))
    made = _made_here(files, genesis)
    # A request for the next key is not what a site whose first request was not kept works by.
    if files.request.exists() and answer.request not in {request.digest for request in made}:
        raise ConfigError(
            f"{site.access} answers another request than the one made here last; take up the right answer with "
            "`bkdms site accept`",
            code="config.access_request",
        )
    return answer


@dataclass(frozen=True, slots=True)
class _Means:
    """The chain that a request is for, and by what it is backed."""

    genesis: Genesis
    token: Token | None
    bundle: Bundle | None
    former: Signer | None = None


def _request(settings: Settings, signer: Signer, wish: Wish, means: _Means, now_ms: int) -> bytes:
    csr = ""
    if means.bundle is not None:
        key, csr_pem = new_request()
        replace_private(SiteFiles(settings.site.key).asked_transport_key, key)
        csr = csr_pem.decode()
    usable = tuple(suite for suite in Suite if SIGNING_ALGORITHM[suite] is signer.public.algorithm)
    return write_request(
        means.genesis,
        settings.site.name(),
        signer,
        suites=wish.suites,
        indicators=wish.indicators,
        moment=Moment(token_bytes(NONCE_BYTES), now_ms),
        equipment=wish.equipment,
        manifest=Manifest(version("bkdms"), (settings.site.module_id,), wish.sensors, usable),
        token=means.token,
        bundle=b"" if means.bundle is None else means.bundle.digest,
        csr=csr,
        former=means.former,
    )


def _token(given: Given, genesis: Genesis) -> Token | None:
    if given.token is None:
        return None
    try:
        token = parse_token(read_private(given.token, _MAX_TOKEN_BYTES).decode("ascii"), genesis.chain)
    except UnicodeDecodeError:
        token = None
    if token is None:
        raise ConfigError(
            f"{given.token} holds no token; put there the line that the registrar gave you, and nothing else",
            code="config.access_token",
        )
    return token


def _pinned(bundle: Bundle | None) -> tuple[PublicKey, ...] | None:
    return None if bundle is None else bundle.registrars


def _made_here(files: SiteFiles, genesis: Genesis) -> list[AccessRequest]:
    return [read_request(read_private(path, MAX_DOCUMENT_BYTES), genesis) for path in files.requests()]


def _check_certificate(answer: AccessAnswer, files: SiteFiles) -> None:
    """Refuse a certificate for another key than was asked for: nobody else shall speak in the site's name."""
    asked = files.asked_transport_key
    held = asked if asked.exists() else files.transport / "key.pem"
    try:
        own = serialization.load_pem_private_key(read_private(held, MAX_DOCUMENT_BYTES), None).public_key()
        fits = x509.load_pem_x509_certificate(answer.certificate.encode()).public_key() == own
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(
            "access answer refused: its transport certificate is not for the key that was asked for here",
            code="config.access",
        )
