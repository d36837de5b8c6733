"""Names of sites and their bounds: country, city and site identifier (Y.4907 10.1)."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

MAX_TEXT_CHARS = 64
MAX_TIME_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
MAX_LONG = 2**63 - 1
SITE_ID_BYTES = 16
_CACHED_NAMES = 4096  # the same few come with every packet
_V4_PREFIX = bytes(10) + b"\xff\xff"


class SiteName(NamedTuple):
    """Registry key of a sampling site; ``site_id`` has 16 bytes."""

    country: str
    city: str
    site_id: bytes

    def __str__(self) -> str:
        return f"{self.country}/{self.city}/{site_id_text(self.site_id)}"


@lru_cache(maxsize=_CACHED_NAMES)
def is_text(value: str, *, empty: bool = False) -> bool:
    """Tell whether a free-text field is printable ASCII without space, 1 to 64 characters.

    Control characters, markup-friendly Unicode and line breaks never enter the ledger.
    """
    if not value:
        return empty
    return len(value) <= MAX_TEXT_CHARS and value.isascii() and value.isprintable() and " " not in value


def is_country(value: str) -> bool:
    """Tell whether a value has the form of an ISO 3166-1 alpha-2 code."""
    return len(value) == 2 and value.isascii() and value.isalpha() and value.isupper()


@lru_cache(maxsize=_CACHED_NAMES)
def is_site_name(name: SiteName) -> bool:
    """Tell whether all three parts of a site's name are in their bounds."""
    return is_country(name.country) and is_text(name.city) and len(name.site_id) == SITE_ID_BYTES


def is_time(value: int) -> bool:
    """Tell whether a time is between 1970 and the end of year 9999, in milliseconds."""
    return 0 <= value <= MAX_TIME_MS


@lru_cache(maxsize=_CACHED_NAMES)
def site_id_text(site_id: bytes) -> str:
    """Return a site identifier as an IPv4 or IPv6 address."""
    if site_id.startswith(_V4_PREFIX):
        return str(IPv4Address(site_id[12:]))
    return str(IPv6Address(site_id))


def parse_site_id(text: str) -> bytes:
    """Return the 16 bytes of a site identifier given as an IPv4 or IPv6 address.

    Raises:
        ValueError: the text is no address.
    """
    address = ip_address(text)
    return _V4_PREFIX + address.packed if isinstance(address, IPv4Address) else address.packed
