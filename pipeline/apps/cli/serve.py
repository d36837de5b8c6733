"""``bkdms serve``: the HTTP API."""

import logging
import os
import signal
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI

from pipeline.adapters.kafka import KafkaPartitionReader
from pipeline.adapters.sql.assess_reader import AssessmentReader
from pipeline.adapters.sql.view import SqlLedgerView
from pipeline.adapters.tls import TlsFiles, server_context
from pipeline.apps.api import ApiParts, alarm, create_api
from pipeline.apps.api_setup import access_of, gate_of, requests_of
from pipeline.apps.authority import load_genesis
from pipeline.apps.cli.context import settings_of
from pipeline.apps.client_identity import IdentifyingProtocol
from pipeline.apps.kafka_connection import kafka_connection
from pipeline.apps.observed import begin
from pipeline.apps.upkeep import upkeep_of
from pipeline.config import ApiSettings, Settings, required
from pipeline.config.transport import refuse_unless
from pipeline.core.avro import require_compiled_reader
from pipeline.core.errors import ConfigError
from pipeline.services.block_source import BlockSource
from pipeline.services.follower import Follower

_DRAIN_S = 5
_MAX_CONNECTIONS = 500


def api_parts(settings: Settings) -> ApiParts:
    """Put the API's parts together; its view is in the folder ``api`` of the data folder.

    Raises:
        ConfigError: a setting is wrong, or another process has the view.
    """
    require_compiled_reader()
    genesis, topics = load_genesis(settings.genesis), settings.topics
    connection = kafka_connection(settings, "api")
    view = SqlLedgerView(settings.data_dir / "api", genesis)
    follower = Follower(
        genesis,
        KafkaPartitionReader(connection, topics.blocks, genesis.partition),
        view,
        pool=ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="signatures"),
        alarm=alarm,
    )
    blocks = BlockSource(KafkaPartitionReader(connection, topics.blocks, genesis.partition))
    assessments = AssessmentReader(settings.store.url)
    upkeep = upkeep_of("api", settings)
    return ApiParts(
        genesis,
        topics,
        view,
        follower,
        blocks,
        settings.export.folder,
        assessments,
        upkeep=upkeep,
        access=access_of(settings),
        gate=gate_of(settings, genesis),
        requests=requests_of(settings),
    )


def server_tls(
    settings: ApiSettings, *, insecure: bool = False, is_demanding: bool = True
) -> ssl.SSLContext | None:
    """Return the TLS context to serve with: where ``api.ca`` is set clients need a certificate, if ``is_demanding``.

    None for plain HTTP, which only ``insecure`` allows.

    Raises:
        ConfigError: the files can't be loaded (code ``config.tls``), or there are none (``config.insecure``).
    """
    if settings.ca is not None:
        context = server_context(settings.tls_files())
        context.verify_mode = ssl.CERT_REQUIRED if is_demanding else ssl.CERT_OPTIONAL
        return context
    if settings.certificate is not None:
        return server_context(TlsFiles(None, settings.certificate, required(settings.key, "api.key")))
    refuse_unless(
        insecure,
        "transport.insecure_api",
        f"the API would listen on {settings.host} without TLS",
        "set api.certificate, api.key and api.ca",
    )
    return None


class _Server(uvicorn.Server):
    """A server that ends with exit code 0 when it is told to, as the other workers do."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT while serving, and don't raise them again afterwards."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve_app(app: FastAPI, host: str, port: int, context: ssl.SSLContext | None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the address can't be listened on.
    """
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=IdentifyingProtocol,
            ssl_context_factory=None if context is None else (lambda _config, _default: context),
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=_DRAIN_S,
        )
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what it says of a failure, we say in one line
    with suppress(SystemExit):
        server.run()
    if not server.started:
        raise ConfigError(
            f"can't listen on {host} port {port}: it is in use or not allowed; set api.port",
            code="config.listen",
        )


def serve(
    ctx: typer.Context,
    *,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve site heads with proofs, traces, the chain's head, assessments, Avro schemas, health and metrics over HTTP.

    Listens on api.host and api.port, with TLS where api.certificate and api.key are set, and demands client
    certificates where api.ca is set, unless access.require_certificate is false. Verifies every block itself and holds
    no key. What is not public is for certificates of certain roles and for tokens of access.issuer; every such request
    is written into the folder access.log.

    Example: bkdms --config api.toml serve
    """
    settings = settings_of(ctx)
    begin("api", settings, log_level)
    context = server_tls(
        settings.api,
        insecure=settings.transport.insecure_api,
        is_demanding=settings.access.require_certificate,
    )
    parts = api_parts(settings)
    try:
        serve_app(create_api(parts), settings.api.host, settings.api.port, context)
    finally:
        parts.view.close()
        if parts.gate.log is not None:
            parts.gate.log.close()
