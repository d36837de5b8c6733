"""An assessment as plain values for JSON, and times as people write them: what the API and the command line show."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pipeline.core.assess.message import fields_of
from pipeline.core.assess.model import Assessment

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(time_ms: int) -> str:
    """Return a GMT time in milliseconds as ISO 8601 with seconds and Z."""
    when = _EPOCH + timedelta(milliseconds=time_ms)
    # Not strftime's %Y, which leaves out zeros before a year.
    return when.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def parse_time(text: str) -> int | None:
    """Return the GMT milliseconds of an ISO 8601 time, or None for none; without a zone it is GMT."""
    try:
        found = datetime.fromisoformat(text)
        in_gmt = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (in_gmt - _EPOCH) // timedelta(milliseconds=1)


def document(item: Assessment) -> dict[str, Any]:
    """Return an assessment by the names of the store's columns; times are ISO 8601, the digest is hex."""
    return fields_of(item) | {
        "window_start": time_text(item.window.start),
        "window_end": time_text(item.window.end),
        "tracing_digest": item.traces.digest.hex(),
    }
