"""Renewed certificates are taken over by contexts that are in use, in whatever order the files are replaced."""

import socket
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from ops.tls.authority import Authority
from ops.tls.principal import Principal, Role
from pipeline.adapters.tls import TlsFiles, client_context, reload_changed, server_context

NOW = datetime.now(UTC)


@dataclass
class Pair:
    """A server's and a client's files from one authority, and how to renew them."""

    authority: Authority
    folder: Path

    def files(self, role: Role) -> TlsFiles:
        folder = self.folder / role.value
        return TlsFiles(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")

    def issue(self, role: Role) -> int:
        """Make or renew a certificate; its serial number."""
        made = self.authority.issue(Principal(role, "x"), self.folder / role.value, now=NOW)
        return x509.load_pem_x509_certificate(made.certificate.read_bytes()).serial_number


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(Authority.create(tmp_path / "ca", now=NOW), tmp_path)
    for role in (Role.API, Role.NODE):
        made.issue(role)
    return made


def seen(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[int, int]:
    """Shake hands; the serial numbers that client and server see of each other."""
    ours, theirs = socket.socketpair()
    found: list[int] = []

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as stream:
            found.append(serial(stream))
            stream.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(ours, server_hostname="localhost") as stream:
        stream.recv(1)
        of_server = serial(stream)
    thread.join()
    return of_server, found[0]


def serial(stream: ssl.SSLSocket) -> int:
    der = stream.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_a_context_in_use_shows_the_renewed_certificate(pair: Pair) -> None:
    server, client = server_context(pair.files(Role.API)), client_context(pair.files(Role.NODE))
    before = seen(server, client)
    renewed = pair.issue(Role.API), pair.issue(Role.NODE)
    assert seen(server, client) == before
    assert {problem for _, problem in reload_changed()} == {None}
    assert seen(server, client) == renewed
    assert reload_changed() == []


@pytest.mark.parametrize("late", ["key", "certificate"])
def test_a_pair_that_does_not_fit_yet_leaves_the_old_one_in_use(pair: Pair, late: str) -> None:
    """The two files are replaced one after the other, in whatever order; in between the context works on."""
    files = pair.files(Role.API)
    server, client = server_context(files), client_context(pair.files(Role.NODE))
    file = files.key if late == "key" else files.certificate
    old, before = file.read_bytes(), seen(server, client)
    renewed = pair.issue(Role.API)
    new = file.read_bytes()
    file.write_bytes(old)
    ((_, problem),) = reload_changed()
    assert problem
    assert seen(server, client) == before
    file.write_bytes(new)
    assert reload_changed() == [(files, None)]
    assert seen(server, client)[0] == renewed


def test_files_that_are_away_for_a_moment_change_nothing(pair: Pair) -> None:
    files = pair.files(Role.API)
    server, client = server_context(files), client_context(pair.files(Role.NODE))
    kept = files.key.read_bytes()
    files.key.unlink()
    ((_, problem),) = reload_changed()
    assert problem is not None
    seen(server, client)
    files.key.write_bytes(kept)
    assert reload_changed() == [(files, None)]


def test_a_context_that_nobody_holds_is_forgotten(pair: Pair) -> None:
    context = server_context(pair.files(Role.API))
    pair.issue(Role.API)
    del context
    assert reload_changed() == []


def test_nothing_older_than_tls_1_3_is_spoken(pair: Pair) -> None:
    """Neither by a server of ours nor by a client: each is met by a peer that offers TLS 1.2 alone."""
    files = pair.files(Role.API)
    for is_server in (True, False):
        mine = server_context(files) if is_server else client_context(files)
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if is_server else ssl.PROTOCOL_TLS_SERVER)
        assert files.ca is not None
        other.load_verify_locations(files.ca)
        other.load_cert_chain(files.certificate, files.key)
        assert not refuses(mine if is_server else other, other if is_server else mine)
        other.maximum_version = ssl.TLSVersion.TLSv1_2
        assert refuses(mine if is_server else other, other if is_server else mine)


def refuses(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Whether a handshake fails, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    try:
        for _ in range(4):
            for side in sides:
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError:
        return True
    return False
