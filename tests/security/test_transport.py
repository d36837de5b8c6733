"""Every listener: in clear, with TLS 1.2, without a certificate, and with certificates that do not fit."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from struct import pack
from typing import Final

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.postgres.role_table import DatabaseRole
from ops.postgres.roles import DATABASE
from ops.tls.authority import Authority
from ops.tls.principal import Principal, Role
from pipeline.adapters.tls import TlsFiles, client_context
from tests.security.attack import Attack, Run
from tests.security.ground import Ground
from tests.security.wire import (
    CONNECTED,
    REFUSED,
    Listener,
    context_of,
    greedy_request,
    home_made,
    knock,
    served_with,
)

pytestmark = [pytest.mark.stack, pytest.mark.security]
SITE_DAYS: Final = timedelta(days=30)
# Kafka's ApiVersions request, version 0, correlation 1, no client id.
KAFKA_GREETING: Final = pack(">ihhih", 10, 18, 0, 1, -1)
POSTGRES_TLS: Final = pack(">ii", 8, 80877103)
_POSTGRES_START: Final = (
    f"user\0{DatabaseRole.READER}\0database\0{DATABASE}\0application_name\0wire\0\0".encode()
)
POSTGRES_GREETING: Final = pack(">ii", 8 + len(_POSTGRES_START), 196608) + _POSTGRES_START


def listener(ground: Ground, name: str) -> Listener:
    """Return where one of the servers listens."""
    ports = json.loads((ground.deployment.data_dir / "ports.json").read_text("utf-8"))
    match name:
        case "Kafka":
            return Listener(ports["kafka"], KAFKA_GREETING)
        case "Kafka's controller":
            return Listener(ports["kafka_controller"], KAFKA_GREETING)
        case "Redis":
            return Listener(ports["redis"], b"HELLO 3\r\n")
        case "PostgreSQL":
            return Listener(ports["postgres"], POSTGRES_GREETING, POSTGRES_TLS, (b"E",))
        case _:
            port = int(ground.deployment.api_url.rpartition(":")[2])
            return Listener(port, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")


def good_files(ground: Ground, name: str) -> TlsFiles:
    """Return a certificate that a server takes."""
    return ground.files(Role.ANALYST if name in ("PostgreSQL", "API") else Role.NODE, "wire")


def servers_ca(ground: Ground, name: str) -> Path:
    """Return the root of a server's own certificate."""
    ca = good_files(ground, name).ca
    assert ca is not None
    return ca


def in_clear(name: str) -> Run:
    return lambda ground: knock(listener(ground, name), None)


def over_tls(name: str, version: ssl.TLSVersion) -> Run:
    async def run(ground: Ground) -> str:
        context = context_of(good_files(ground, name), ca=servers_ca(ground, name), version=version)
        return await knock(listener(ground, name), context)

    return run


def without_certificate(name: str) -> Run:
    async def run(ground: Ground) -> str:
        return await knock(listener(ground, name), context_of(None, ca=servers_ca(ground, name)))

    return run


def with_home_made_certificate(name: str) -> Run:
    async def run(ground: Ground) -> str:
        ca = servers_ca(ground, name)
        files = home_made(ground.deployment.data_dir.parent / "home-made", "admin:1", ca)
        return await knock(listener(ground, name), context_of(files, ca=ca))

    return run


def with_a_sites_certificate(name: str) -> Run:
    async def run(ground: Ground) -> str:
        files = ground.files(Role.SITE, "hostile")
        return await knock(listener(ground, name), context_of(files, ca=servers_ca(ground, name)))

    return run


async def site_as_a_server(ground: Ground) -> str:
    """A site's certificate in place of the broker's: a good client looks for what it may be used for."""
    victim = client_context(ground.files(Role.SITE, "victim"))
    # Whoever trusted sites' certificates as servers would be met by one: this client does, but for its purpose.
    clients = ground.deployment.stack.credentials(Role.API, "api").clients
    victim.load_verify_locations(cafile=str(clients))

    async def meet(port: int) -> str:
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=victim, server_hostname="localhost"
            )
        except ssl.SSLCertVerificationError as error:
            return f"{REFUSED}: {error.verify_message}"
        writer.close()
        return CONNECTED

    return await served_with(
        ground.files(Role.SITE, "hostile"), lambda port: asyncio.ensure_future(meet(port))
    )


async def greedy_signing_request(ground: Ground) -> str:
    """The request asks for an administrator's name, a server's usages and an authority's powers."""
    authority = Authority.load(ground.deployment.data_dir / "pki", ground.deployment.keys)
    made = authority.sign(
        Principal(Role.SITE, "greedy"), greedy_request("admin:1"), now=datetime.now(UTC), lifetime=SITE_DAYS
    )
    found = x509.load_pem_x509_certificates(made)[0]
    (name,) = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    kinds = {type(extension.value) for extension in found.extensions}
    is_authority = found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    gained = [
        word
        for word, is_gained in (
            ("server", ExtendedKeyUsageOID.SERVER_AUTH in usages),
            ("names", x509.SubjectAlternativeName in kinds),
            ("authority", is_authority),
        )
        if is_gained
    ]
    return f"{name.value!s}, {' '.join(gained) or 'client only'}"


NAMES: Final = ("Kafka", "Redis", "PostgreSQL", "API")
ATTACKS: Final = [
    *(
        Attack(
            f"TLS 1.3 with a good certificate to {name} (control)",
            "",
            CONNECTED,
            over_tls(name, ssl.TLSVersion.TLSv1_3),
        )
        for name in (*NAMES, "Kafka's controller")
    ),
    *(Attack(f"plain text to {name}", "DST-6 DST-8", REFUSED, in_clear(name)) for name in NAMES),
    *(
        Attack(f"TLS 1.2 to {name}", "DST-6 DST-8", REFUSED, over_tls(name, ssl.TLSVersion.TLSv1_2))
        for name in NAMES
    ),
    *(
        Attack(f"no certificate to {name}", "DST-4 DST-8", REFUSED, without_certificate(name))
        for name in ("Kafka", "Kafka's controller", "Redis", "PostgreSQL")
    ),
    *(
        Attack(
            f"home-made certificate of an administrator to {name}",
            "DST-4",
            REFUSED,
            with_home_made_certificate(name),
        )
        for name in (*NAMES, "Kafka's controller")
    ),
    *(
        Attack(f"a site's certificate to {name}", "DST-4", REFUSED, with_a_sites_certificate(name))
        for name in ("Kafka's controller", "Redis", "PostgreSQL")
    ),
    Attack(
        "a site's certificate as a server's",
        "DST-3 DST-4",
        "refused: unsuitable certificate purpose",
        site_as_a_server,
    ),
    Attack("signing request for CN=admin", "DST-4", "site:greedy, client only", greedy_signing_request),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_connection_that_must_not_be(attack: Attack, see: Callable[[Attack], Awaitable[str]]) -> None:
    assert await see(attack) == attack.expected
