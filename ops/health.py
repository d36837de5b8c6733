"""Asks a program whether it is ready: exit 0 where it answers 200, else 1 and the reason.

Standard library alone, since it runs every few seconds: ``python -m ops.health URL [FOLDER [NAME]]``, where the folder
holds the certificate to show to an address that wants one, and NAME is whom the certificate there names where that
isn't the address's host, as on workers' pages: ``node.metrics.bkdms.internal``.
"""

import socket
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_S = 5
_MOST_ARGUMENTS = 3


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 ready, 1 not ready, 2 usage."""
    if not 1 <= len(arguments) <= _MOST_ARGUMENTS or not arguments[0].startswith(("http://", "https://")):
        sys.stderr.write("usage: python -m ops.health URL [FOLDER [NAME]]\n")
        return 2
    url, *rest = arguments
    try:
        context = client_context(Path(rest[0]), *rest[1:]) if rest else None
        # The programs are near: a proxy of the environment is not for them.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(url, timeout=TIMEOUT_S):
            return 0
    except (OSError, urllib.error.URLError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


class _NamingContext(ssl.SSLContext):
    """Expects a certificate of ``name`` where there is one, whatever address was asked."""

    name: str | None = None

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:  # type: ignore[override]
        """Wrap a connection that is about to begin."""
        if self.name is not None:
            options["server_hostname"] = self.name
        return super().wrap_socket(sock, **options)


def client_context(folder: Path, name: str | None = None) -> ssl.SSLContext:
    """Return a context that trusts ``ca.pem`` of the folder alone and shows its certificate.

    With ``name`` the other side's certificate must be that name's, else the host's that is asked.
    """
    context = _NamingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.name = name
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(folder / "ca.pem")
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
