"""Asks a program whether it is ready: exit 0 where it answers 200, else 1 and the reason.

Standard library alone, since it runs every few seconds: ``python -m ops.health URL [FOLDER]``, where the folder holds
the certificate to show to an address that wants one.
"""

import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT_S = 5


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 ready, 1 not ready, 2 usage."""
    if len(arguments) not in (1, 2) or not arguments[0].startswith(("http://", "https://")):
        sys.stderr.write("usage: python -m ops.health URL [FOLDER]\n")
        return 2
    try:
        context = client_context(Path(arguments[1])) if len(arguments) == 2 else None
        # The programs are near: a proxy of the environment is not for them.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(arguments[0], timeout=TIMEOUT_S):
            return 0
    except (OSError, urllib.error.URLError) as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return 1


def client_context(folder: Path) -> ssl.SSLContext:
    """Return a context that trusts ``ca.pem`` of the folder alone and shows its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(folder / "ca.pem")
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
