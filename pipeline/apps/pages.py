"""A worker's pages: metrics for those who may watch, health for every part of the platform.

They are served over TLS 1.3 with the worker's own certificate, and nobody without one of the platform's authority gets
past the handshake. A site's certificate is a client's alone: its page is ``pipeline.apps.cli.site_run``'s.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faust
from faust import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ops.access_table import Scope, api_scopes
from ops.tls.revoked import RevokedFile
from pipeline.adapters.tls import server_context
from pipeline.apps.certified_client import client_in
from pipeline.config import Settings
from pipeline.telemetry import metrics


@dataclass(frozen=True, slots=True)
class Health:
    """What the pages tell of the work."""

    is_alive: Callable[[], bool]
    is_ready: Callable[[], bool]


def page_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what a worker serves its pages with; None where ``transport.insecure_metrics`` accepts plain ones.

    Raises:
        ConfigError: the certificate's files can't be loaded.
    """
    return None if settings.transport.insecure_metrics else server_context(settings.kafka.tls_files())


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who may see the pages."""

    is_plain: bool
    revoked: RevokedFile

    @classmethod
    def of(cls, settings: Settings) -> "Watchers":
        """Return who may by the settings.

        Raises:
            ConfigError: the list of revoked certificates is damaged.
        """
        return cls(settings.transport.insecure_metrics, RevokedFile(settings.pki.revoked))

    def refusal(self, certificate: Any, scope: Scope | None) -> str | None:
        """Say why the holder of a verified certificate, as ``ssl`` gives it, may not see a page; None if it may.

        Without a ``scope`` everybody may who has a certificate that counts.
        """
        if self.is_plain:
            return None
        client = client_in(certificate)
        if client is None:
            return "certificate"
        if self.revoked.is_revoked(str(client.principal), f"{client.serial:x}"):
            return "revoked"
        if scope is not None and scope not in api_scopes(client.principal.role):
            return "role"
        return None


def add_pages(app: faust.App, health: Health, watchers: Watchers) -> None:
    """Have a worker serve metrics and health; 403 with the reason for who may not see a page."""

    def refused(view: web.View, request: web.Request, scope: Scope | None) -> web.Response | None:
        transport: Any = getattr(request, "transport", None)
        reason = watchers.refusal(transport and transport.get_extra_info("peercert"), scope)
        return None if reason is None else view.json({"refused": reason}, status=403)

    @app.page("/metrics", name="metrics")
    async def metrics_page(view: web.View, request: web.Request) -> web.Response:
        if refusal := refused(view, request, Scope.METRICS):
            return refusal
        metrics.WORKER_READY.set(health.is_ready())
        return view.bytes(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.page("/health/live", name="live")
    async def live(view: web.View, request: web.Request) -> web.Response:
        return refused(view, request, None) or _told(view, "live", health.is_alive())

    @app.page("/health/ready", name="ready")
    async def ready(view: web.View, request: web.Request) -> web.Response:
        return refused(view, request, None) or _told(view, "ready", health.is_ready())


def _told(view: web.View, word: str, is_so: bool) -> web.Response:
    return view.json({word: is_so}, status=200 if is_so else 503)
