"""Who asks the API: role, name and serial number from the client's TLS certificate, for each connection.

The certificate was verified by TLS before any byte of a request is read; here it is only read.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from ops.tls.principal import Principal

_CLIENT: Final = "bkdms_client"


@dataclass(frozen=True, slots=True)
class Client:
    """Whom a verified certificate speaks for, and its serial number, by which it may be revoked."""

    principal: Principal
    serial: int


class IdentifyingProtocol(H11Protocol):
    """HTTP/1.1 that puts the client beside each request of a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Read the certificate once; a connection without one belongs to nobody."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        self.app_state = {**self.app_state, _CLIENT: client_in(certificate)}


def client_in(certificate: Any) -> Client | None:
    """Return the client of a verified certificate as ``ssl`` gives it, or None for none of ours."""
    principal = principal_of(certificate)
    if principal is None:
        return None
    try:
        return Client(principal, int(certificate["serialNumber"], 16))
    except (KeyError, ValueError):
        return None


def principal_of(certificate: Any) -> Principal | None:
    """Return the principal of a verified certificate as ``ssl`` gives it, or None for none of ours."""
    subject = certificate.get("subject", ()) if certificate else ()
    names = [value for part in subject for key, value in part if key == "commonName"]
    units = [value for part in subject for key, value in part if key == "organizationalUnitName"]
    if len(names) != 1:
        return None
    try:
        found = Principal.parse(names[0])
    except ValueError:
        return None
    # The authority for sites is limited by unit, not by common name.
    return found if units == [found.role.value] else None


def client_of(request: Request) -> Client | None:
    """Return who sent a request; None without a certificate of ours."""
    found = request.scope.get("state", {}).get(_CLIENT)
    return found if isinstance(found, Client) else None


def as_client(client: Client) -> dict[str, Client]:
    """Return what stands beside the requests of a client, for servers in this process."""
    return {_CLIENT: client}
