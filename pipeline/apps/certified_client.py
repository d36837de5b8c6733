"""Whom a TLS certificate speaks for: role, name and serial number.

The certificate was verified by TLS before any byte of a request is read; here it is only read.
"""

from dataclasses import dataclass
from typing import Any

from ops.tls.principal import Principal


@dataclass(frozen=True, slots=True)
class Client:
    """Whom a verified certificate speaks for, and its serial number, by which it may be revoked."""

    principal: Principal
    serial: int


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
