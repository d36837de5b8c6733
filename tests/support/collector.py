"""An OTLP collector on a loopback port, which keeps the spans that it is sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """Spans by trace, each with the name of the program that made it, as they came."""

    endpoint: str = ""
    spans: dict[bytes, list[tuple[str, Span]]] = field(default_factory=dict)

    def take(self, body: bytes) -> None:
        """Keep the spans of one request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.setdefault(span.trace_id, []).append((names["service.name"], span))


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, collector: Collector, *arguments: object) -> None:
        self._collector = collector
        super().__init__(*arguments)  # type: ignore[arg-type]  # socket, address, server, as the server gives them

    def do_POST(self) -> None:
        """Take spans."""
        self._collector.take(self.rfile.read(int(self.headers["Content-Length"])))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector while in here."""
    collector = Collector()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, collector))
    collector.endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
