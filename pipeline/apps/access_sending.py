"""A site's access request over HTTPS: sent to the platform that its bundle pins, the answer fetched from there.

Whoever is not certified by the bundle's transport authority hears nothing, and the answer counts only by the signature
of the bundle's registrars (``pipeline.apps.enrolment``), whoever brings it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pipeline.adapters.peers import is_https
from pipeline.adapters.private_files import read_private, replace_private
from pipeline.adapters.request_client import RequestClient, pinned_context
from pipeline.adapters.request_inbox import request_name
from pipeline.apps.authority import load_genesis
from pipeline.apps.enrolment import take_bundle
from pipeline.apps.site_files import SiteFiles
from pipeline.config import Settings
from pipeline.core.errors import ConfigError
from pipeline.core.keys import PublicKey
from pipeline.services.access import read_request
from pipeline.services.access_envelope import MAX_DOCUMENT_BYTES

_MAX_BYTES: Final = 4096


def send_request(settings: Settings, raw: bytes, url: str) -> str:
    """Send a request to the API at ``url`` and return its name there; the same one may be sent again.

    Raises:
        ConfigError: the site has no bundle, the address is not protected, or the request is refused.
        TransientError: nobody answers who is certified by the bundle's authority.
    """
    name = request_name(raw)
    with _client(settings, url) as client:
        client.send(raw)
    document = json.dumps({"url": url, "request": name})
    replace_private(SiteFiles(settings.site.key).sent, f"{document}\n".encode())
    return name


def last_request(settings: Settings) -> tuple[bytes, PublicKey]:
    """Return the request that was made here last, and the key that it is for.

    Raises:
        ConfigError: there is none, or it is damaged.
    """
    made = SiteFiles(settings.site.key).requests()
    if not made:
        raise ConfigError("no request was made here yet; leave --again out", code="config.access_request")
    raw = read_private(made[0], MAX_DOCUMENT_BYTES)
    return raw, read_request(raw, load_genesis(settings.genesis)).key


def fetch_answer(settings: Settings) -> bytes | None:
    """Return the answer to the request that was sent last, unverified, or None while there is none.

    Raises:
        ConfigError: no request was sent from here, or the site's bundle is missing.
        TransientError: nobody answers who is certified by the bundle's authority.
    """
    url, name = _sent(SiteFiles(settings.site.key))
    with _client(settings, url) as client:
        return client.fetch(name)


@contextmanager
def _client(settings: Settings, url: str) -> Iterator[RequestClient]:
    bundle = take_bundle(settings, None)
    if bundle is None or not bundle.platform.transport_ca:
        raise ConfigError(
            "sending needs a bundle that pins the platform's transport (`bkdms registrar bundle --pki`); carry the "
            "request by hand instead (-o FILE)",
            code="config.access_bundle",
        )
    if not is_https(url):
        raise ConfigError(f"{url}: requests are sent over https:// alone", code="config.insecure")
    files = SiteFiles(settings.site.key)
    client = RequestClient(url, pinned_context(bundle.platform.transport_ca, files.transport))
    try:
        yield client
    finally:
        client.close()


def _sent(files: SiteFiles) -> tuple[str, str]:
    if not files.sent.exists():
        raise ConfigError(
            "no request was sent from here: send one with `bkdms site request --send URL`, or give the answer's file",
            code="config.access_request",
        )
    try:
        document = json.loads(read_private(files.sent, _MAX_BYTES))
        return str(document["url"]), str(document["request"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{files.sent} is damaged; send the request again", code="config.access_request"
        ) from None
