"""Which addresses of others are protected: TLS, or this machine itself. Opens no connection."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, whoever may listen there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_https(url: str) -> bool:
    """Tell whether an address is asked over TLS."""
    return url.lower().startswith("https://")


def is_https_or_here(url: str) -> bool:
    """Tell whether an address is asked over TLS or is on this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return is_https(url) or is_loopback(host)
