"""Knocking at a listener: in clear, with another version of TLS, with no certificate or with one made at home."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline.adapters.tls import TlsFiles

CONNECTED: Final = "connected"
REFUSED: Final = "refused"
_ANSWER_S: Final = 3.0
_TLS_ALERT: Final = 0x15


@dataclass(frozen=True, slots=True)
class Listener:
    """A port, the bytes that a client greets with and, of PostgreSQL, what asks for TLS and how a refusal begins."""

    port: int
    greeting: bytes
    request: bytes = b""
    refusal: tuple[bytes, ...] = ()


async def knock(listener: Listener, context: ssl.SSLContext | None) -> str:
    """Connect, greet, and tell whether anything but a refusal came back."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            with closing(writer):
                if context is not None:
                    if listener.request:
                        writer.write(listener.request)
                        await reader.readexactly(1)
                    await writer.start_tls(context, server_hostname="localhost")
                writer.write(listener.greeting)
                answer = await reader.read(1024)
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError):
        return REFUSED
    is_no_answer = not answer or answer[0] == _TLS_ALERT or answer.startswith(listener.refusal)
    return REFUSED if is_no_answer else CONNECTED


def context_of(
    files: TlsFiles | None, *, ca: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """Return a client's context of one TLS version, with a certificate or without."""
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = context.maximum_version = version
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


def home_made(folder: Path, name: str, ca: Path) -> TlsFiles:
    """Return a certificate for ``name`` that we signed ourselves, as its own authority, good for everything."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(mode=0o700, exist_ok=True)
    files = TlsFiles(ca, folder / "certificate.pem", folder / "key.pem")
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def greedy_request(name: str) -> bytes:
    """Return a PEM signing request that asks for another name, a server's usages and an authority's powers."""
    wishes: tuple[tuple[x509.ExtensionType, bool], ...] = (
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.SubjectAlternativeName([x509.DNSName("localhost")]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    )
    request = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    for wish, is_critical in wishes:
        request = request.add_extension(wish, critical=is_critical)
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


async def served_with(files: TlsFiles, meet: Callable[[int], asyncio.Future[str]]) -> str:
    """Let a server show a certificate while ``meet`` connects to its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        return await meet(server.sockets[0].getsockname()[1])
