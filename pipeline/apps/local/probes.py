"""How local programs are asked whether they are ready, and for their pages."""

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from ops.ports import HOST
from ops.tls.authority import CertificateFiles
from ops.tls.holders import certificate_folder
from ops.tls.principal import Principal, Role
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.certified_client import principal_of
from pipeline.core.errors import ConfigError

PROBE_TIMEOUT_S = 2
WATCHER = Principal(Role.MONITOR, "prometheus")
"""Whose certificate is shown to workers of this machine."""


def is_healthy(data_dir: Path, name: str, port: int) -> bool:
    """Tell whether the worker of a local stack says that it is ready."""
    return worker_page(data_dir, name, port, "/health/ready") is not None


def worker_page(data_dir: Path, name: str, port: int, path: str = "/metrics") -> bytes | None:
    """Return what the worker ``name`` of the local stack in ``data_dir`` answers with 200, or None.

    Another's answer is none, whatever certificate of ours it has.
    """
    try:
        connection = http.client.HTTPSConnection(
            HOST, port, timeout=PROBE_TIMEOUT_S, context=_watcher_context(data_dir)
        )
        try:
            connection.connect()
            shown = principal_of(connection.sock.getpeercert())
            if shown is None or shown.name != name:
                return None
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read() if answer.status == http.client.OK else None
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ConfigError):
        return None


def _watcher_context(data_dir: Path) -> ssl.SSLContext:
    files = CertificateFiles.of(certificate_folder(data_dir, WATCHER))
    context = client_context(TlsFiles(files.ca, files.certificate, files.key))
    # A worker's certificate names no host: whose it is, is looked at by its subject.
    context.check_hostname = False
    return context


def fetch(url: str, context: ssl.SSLContext | None = None) -> bytes | None:
    """Return what a local address answers with 200, or None."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S, context=context) as answer:  # noqa: S310
            return bytes(answer.read()) if answer.status == 200 else None
    except (OSError, urllib.error.URLError, ValueError):
        return None
