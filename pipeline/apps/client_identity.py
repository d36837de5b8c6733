"""Who asks the API: the client of each connection, beside its requests."""

import asyncio
from typing import Final

from fastapi import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.apps.certified_client import Client, client_in

_CLIENT: Final = "bkdms_client"


class IdentifyingProtocol(H11Protocol):
    """HTTP/1.1 that puts the client beside each request of a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Read the certificate once; a connection without one belongs to nobody."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        self.app_state = {**self.app_state, _CLIENT: client_in(certificate)}


def client_of(request: Request) -> Client | None:
    """Return who sent a request; None without a certificate of ours."""
    found = request.scope.get("state", {}).get(_CLIENT)
    return found if isinstance(found, Client) else None


def as_client(client: Client) -> dict[str, Client]:
    """Return what stands beside the requests of a client, for servers in this process."""
    return {_CLIENT: client}
