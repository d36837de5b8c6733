"""The fields that access documents share: how they are written, and the bounds they are read within."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.keys import Use
from pipeline.core.names import (
    SITE_ID_BYTES,
    SiteName,
    is_site_name,
    is_text,
    is_time,
    parse_site_id,
    site_id_text,
)
from pipeline.core.record import is_indicator
from pipeline.core.sealing import Suite
from pipeline.core.state import Offer
from pipeline.services.access_envelope import key_fields, read_key

MAX_INDICATORS: Final = 256
MAX_PEM_BYTES: Final = 16 * 1024
HASH_BYTES: Final = 32
WRONG: Final = (KeyError, ValueError, TypeError, AttributeError)
"""What reading a field raises where it is missing, of another kind, or out of its bounds."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is at the site, as it says itself: agent's release, modules, sensors, suites that it could use."""

    agent: str = "unknown"
    modules: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    suites: tuple[Suite, ...] = ()


def manifest_fields(manifest: Manifest) -> dict[str, Any]:
    """Return how a request writes a manifest."""
    return {
        "agent": manifest.agent,
        "modules": list(manifest.modules),
        "sensors": list(manifest.sensors),
        "suites": [suite.name.lower() for suite in manifest.suites],
    }


def read_manifest(fields: Mapping[str, Any]) -> Manifest:
    """Return the manifest that a request holds; raises one of ``WRONG``."""
    modules, sensors = tuple(fields["modules"]), tuple(fields["sensors"])
    texts = (fields["agent"], *modules, *sensors)
    if not all(isinstance(text, str) and is_text(text) for text in texts):
        raise ValueError("manifest")
    if max(len(modules), len(sensors), len(fields["suites"])) > MAX_INDICATORS:
        raise ValueError("manifest")
    return Manifest(
        fields["agent"], modules, sensors, tuple(Suite[name.upper()] for name in fields["suites"])
    )


def read_bytes(text: str, size: int) -> bytes:
    """Return the bytes of a hexadecimal field of that many; raises one of ``WRONG``."""
    value = bytes.fromhex(text)
    if len(value) != size:
        raise ValueError(f"value of {size} bytes")
    return value


def read_time(value: object) -> int:
    """Return a time in milliseconds; raises one of ``WRONG``."""
    if type(value) is not int or not is_time(value):
        raise ValueError("time")
    return value


def read_pem(value: object) -> str:
    """Return a text that may be PEM, or is empty; raises one of ``WRONG``."""
    if not isinstance(value, str) or not value.isascii() or len(value) > MAX_PEM_BYTES:
        raise ValueError("certificate or request for one")
    return value


def grant_fields(
    chain: bytes,
    site: SiteName,
    suites: tuple[Suite, ...],
    indicators: tuple[str, ...],
    equipment: tuple[bytes, ...],
) -> dict[str, Any]:
    """Return how a document writes who may send what, on which chain."""
    return {
        "chain": chain.hex(),
        "country": site.country,
        "city": site.city,
        "site_id": site_id_text(site.site_id),
        "suites": [suite.name.lower() for suite in suites],
        "indicators": list(indicators),
        "equipment": [site_id_text(item) for item in equipment],
    }


def read_grant(
    fields: Mapping[str, Any],
) -> tuple[bytes, SiteName, tuple[Suite, ...], tuple[str, ...], tuple[bytes, ...]]:
    """Return chain, site, suites, indicators and equipment of a document; raises one of ``WRONG``."""
    site = SiteName(fields["country"], fields["city"], parse_site_id(fields["site_id"]))
    suites = tuple(Suite[name.upper()] for name in fields["suites"])
    indicators, equipment = tuple(fields["indicators"]), tuple(map(parse_site_id, fields["equipment"]))
    if not is_site_name(site):
        raise ValueError("name of the site")
    if not suites or len(set(suites)) != len(suites):
        raise ValueError("list of suites")
    if not 0 < len(indicators) <= MAX_INDICATORS or not all(map(is_indicator, indicators)):
        raise ValueError("list of indicators")
    if len(equipment) > MAX_INDICATORS or any(len(item) != SITE_ID_BYTES for item in equipment):
        raise ValueError("list of equipment")
    return bytes.fromhex(fields["chain"]), site, suites, indicators, equipment


def offer_fields(offer: Offer) -> dict[str, Any]:
    """Return how a document writes an offered key."""
    return {"epoch": offer.epoch, **key_fields(offer.key), "valid_to_ms": offer.valid_to}


def read_offer(fields: Mapping[str, Any]) -> Offer:
    """Return an offered key; raises one of ``WRONG``."""
    key, epoch, valid_to = read_key(Use.PLATFORM, fields), fields["epoch"], read_time(fields["valid_to_ms"])
    if type(epoch) is not int or epoch < 1:
        raise ValueError("epoch of an offered key")
    return Offer(epoch, key, valid_to)
