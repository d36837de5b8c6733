"""Real TLS handshakes between two holders of certificates, in memory."""

import ssl
from pathlib import Path
from typing import Any

from ops.tls.authority import CertificateFiles
from pipeline.adapters.tls import TlsFiles, client_context, server_context

_MOST_STEPS = 20


class RefusedError(Exception):
    """One side did not take the other's certificate."""


def shaken(server: CertificateFiles, client: CertificateFiles, *, trust: Path | None = None) -> str:
    """Return the common name that the server saw; it takes the clients of ``trust``, else of its ``ca``.

    Raises:
        RefusedError: one side refused.
    """
    serving = server_context(TlsFiles(trust or server.ca, server.certificate, server.key))
    asking = client_context(TlsFiles(client.ca, client.certificate, client.key))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        asking.wrap_bio(to_client, to_server, server_hostname="localhost"),
        serving.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(sides)
    for _ in range(_MOST_STEPS):
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                raise RefusedError(str(error)) from error
        if not waiting:
            return _common_name(sides[1].getpeercert())
    raise RefusedError("the handshake does not end")


def _common_name(certificate: Any) -> str:
    return next(str(value) for part in certificate["subject"] for key, value in part if key == "commonName")
