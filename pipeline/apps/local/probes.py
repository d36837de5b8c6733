"""How local programs are asked whether they are ready, and for their pages."""

import ssl
import urllib.error
import urllib.request

from ops.ports import HOST

PROBE_TIMEOUT_S = 2


def is_healthy(port: int) -> bool:
    """Tell whether a worker says that it is ready."""
    return fetch(f"http://{HOST}:{port}/health/ready") is not None


def fetch(url: str, context: ssl.SSLContext | None = None) -> bytes | None:
    """Return what a local address answers with 200, or None."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S, context=context) as answer:  # noqa: S310
            return bytes(answer.read()) if answer.status == 200 else None
    except (OSError, urllib.error.URLError, ValueError):
        return None
