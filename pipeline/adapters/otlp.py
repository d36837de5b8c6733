"""Spans by OpenTelemetry's OTLP over HTTP, through its own SDK: in batches, dropped where nobody listens.

The only module that imports OpenTelemetry, which is installed by the extra ``traces``.
"""

from typing import Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, TraceFlags

from pipeline.core.errors import ConfigError
from pipeline.telemetry.spans import Span

_NS_PER_MS: Final = 1_000_000
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class OtlpSink:
    """Sends spans to a collector; ``program`` and ``release`` say who we are.

    Headers, such as a token's, come from OTEL_EXPORTER_OTLP_HEADERS, as with every OpenTelemetry program.

    Raises:
        ConfigError: the endpoint is no URL (code ``traces_endpoint``).
    """

    def __init__(self, endpoint: str, program: str, release: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _refused(endpoint, "is no http:// or https:// URL")
        resource = {"service.namespace": "bkdms", "service.name": program, "service.version": release}
        self._resource = Resource.create(resource)
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint))

    def take(self, span: Span) -> None:
        """Put a span in line; when the line is full it is dropped."""
        parent = None if span.parent_id is None else _context(span.trace_id, span.parent_id)
        self._processor.on_end(
            ReadableSpan(
                span.name,
                _context(span.trace_id, span.span_id),
                parent,
                self._resource,
                span.attributes,
                start_time=span.start_ms * _NS_PER_MS,
                end_time=span.end_ms * _NS_PER_MS,
            )
        )

    def close(self) -> None:
        """Send what is in line and end."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)


def _refused(endpoint: str, why: str) -> ConfigError:
    return ConfigError(f"setting traces.endpoint: {endpoint!r} {why}", code="traces_endpoint")
