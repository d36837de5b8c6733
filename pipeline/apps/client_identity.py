"""Who asks the API: role and name from the client's TLS certificate, for each connection.

The certificate was verified by TLS before any byte of a request is read; here it is only read.
"""

import asyncio
from typing import Any, Final

from fastapi import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from ops.tls.principal import Principal, Role

_CLIENT: Final = "bkdms_client"


class IdentifyingProtocol(H11Protocol):
    """HTTP/1.1 that puts the client's principal beside each request of a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Read the certificate once; a connection without one belongs to nobody."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        self.app_state = {**self.app_state, _CLIENT: principal_of(certificate)}


def principal_of(certificate: Any) -> Principal | None:
    """Return the principal of a verified certificate as ``ssl`` gives it, or None for none of ours."""
    subject = certificate.get("subject", ()) if certificate else ()
    names = [value for part in subject for key, value in part if key == "commonName"]
    if len(names) != 1:
        return None
    role, _, name = names[0].partition(":")
    try:
        return Principal(Role(role), name)
    except ValueError:
        return None


def client_of(request: Request) -> Principal | None:
    """Return who sent a request; None without a certificate of ours."""
    found = request.scope.get("state", {}).get(_CLIENT)
    return found if isinstance(found, Principal) else None
