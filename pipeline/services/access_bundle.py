"""The bundle that a site gets out of band: what it believes of the platform before it asks for anything.

It pins the chain (the genesis file is inside), the registrars whose answers count, the CA of the transport and the
addresses. It holds no secret; the one-time token goes another way. Its hash goes into the site's request, so that the
registrar sees whether the site holds the very bundle that was made for it.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.genesis import Genesis, parse_genesis
from pipeline.core.keys import PublicKey, Use
from pipeline.core.names import SiteName, is_site_name, parse_site_id, site_id_text
from pipeline.core.signing import Signer, verify
from pipeline.services.access_envelope import key_fields, open_document, read_key, refused, sign_document
from pipeline.services.access_fields import WRONG, read_pem, read_time

_BUNDLE: Final = "bkdms-site-bundle/v1"
_NAME: Final = "site bundle"
_MAX_REGISTRARS: Final = 16
_MAX_TEXT_CHARS: Final = 1024


@dataclass(frozen=True, slots=True)
class Platform:
    """Where a site finds the platform: Kafka's and the API's addresses, topic prefix, the transport's CA (PEM)."""

    kafka: str = ""
    api: str = ""
    topic_prefix: str = ""
    transport_ca: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle; ``digest`` (32 bytes) names it, ``expires_ms`` is when its token ends."""

    digest: bytes
    genesis: Genesis
    site: SiteName
    registrars: tuple[PublicKey, ...]
    platform: Platform
    expires_ms: int


def write_bundle(
    genesis: Genesis,
    site: SiteName,
    registrars: tuple[PublicKey, ...],
    platform: Platform,
    *,
    signer: Signer,
    expires_ms: int,
) -> bytes:
    """Return a site's bundle as a file, signed by one of its ``registrars``.

    Raises:
        ConfigError: a part is outside its bounds.
    """
    fields = {
        "genesis": b64encode(genesis.raw).decode(),
        "country": site.country,
        "city": site.city,
        "site_id": site_id_text(site.site_id),
        "registrars": [key_fields(key) for key in registrars],
        "kafka": platform.kafka,
        "api": platform.api,
        "topic_prefix": platform.topic_prefix,
        "transport_ca": platform.transport_ca,
        "expires_ms": expires_ms,
        "registrar": signer.public.fingerprint.hex(),
    }
    raw = sign_document(_BUNDLE, fields, signer)
    read_bundle(raw)
    return raw


def read_bundle(raw: bytes) -> Bundle:
    """Check that a bundle is whole, and return it. That it is genuine is said by the way that it came.

    Raises:
        ConfigError: it is damaged, or not signed by a registrar that it names.
    """
    document = open_document(_BUNDLE, _NAME, raw)
    try:
        bundle = _bundle(document.digest, document.fields)
        signer = {key.fingerprint.hex(): key for key in bundle.registrars}.get(document.fields["registrar"])
    except WRONG:
        raise refused(_NAME, "a field is missing or wrong") from None
    if signer is None or not verify(signer, document.signature, document.message):
        raise refused(_NAME, "its signature is not good; it was changed after it was made")
    return bundle


def _bundle(digest: bytes, fields: Mapping[str, Any]) -> Bundle:
    site = SiteName(fields["country"], fields["city"], parse_site_id(fields["site_id"]))
    registrars = tuple(read_key(Use.REGISTRAR, item) for item in fields["registrars"])
    kafka, api, prefix = fields["kafka"], fields["api"], fields["topic_prefix"]
    if not is_site_name(site) or not 0 < len(registrars) <= _MAX_REGISTRARS:
        raise ValueError("site or registrars")
    if not all(map(_is_address, (kafka, api, prefix))):
        raise ValueError("address")
    platform = Platform(kafka, api, prefix, read_pem(fields["transport_ca"]))
    genesis = parse_genesis(b64decode(fields["genesis"], validate=True))
    return Bundle(digest, genesis, site, registrars, platform, read_time(fields["expires_ms"]))


def _is_address(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= _MAX_TEXT_CHARS
        and value.isascii()
        and (not value or value.isprintable())
        and not set(value) & set(" \"'\\")
    )
