"""Traces of single packets, from the site to the store. Off unless a program gives this module somewhere to send to.

Nothing travels with a packet: trace and parent follow from its identifier, so programs that know nothing of each other
make spans of one trace, the broker and the blocks stay as they are, and a repeated step makes the same span again.
Spans carry no value, key or site.

==================  ==================================================================================
``site.deliver``    the root: first record spooled until the commit is verified by the site
``validator.admit``  appended to the packets topic until acknowledged on the chain log
``node.commit``     appended to the chain log until this node saw its block committed
``platform.store``  appended to the chain log until its row is stored
==================  ==================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

ROOT: Final = "site.deliver"
_ID_RANGE: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Span:
    """One step of one packet; times in GMT milliseconds, ``trace_id`` 128 bits, ``span_id`` and ``parent_id`` 64.

    ``parent_id`` is None for the root.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    start_ms: int
    end_ms: int
    attributes: Mapping[str, str | int]


class SpanSink(Protocol):
    """Where spans go. Never blocks and never raises."""

    def take(self, span: Span) -> None:
        """Take one span."""


class _Tracing:
    """The one piece of global state: a sink and the share of packets that are traced, by their identifiers."""

    sink: SpanSink | None = None
    below: int = 0


def send_to(sink: SpanSink | None, ratio: float = 1.0) -> None:
    """Give spans of a share (0 to 1) of all packets to a sink from now on; None: trace nothing.

    Every program that has the same share traces the same packets.
    """
    _Tracing.sink = sink
    _Tracing.below = round(ratio * _ID_RANGE)


def is_on() -> bool:
    """Tell whether any packet is traced; ask before identifiers are computed for this alone."""
    return _Tracing.sink is not None


def record(
    name: str, packet_id: bytes, start_ms: int, end_ms: int, program: str = "", **attributes: str | int
) -> None:
    """Make a span of a packet (32-byte identifier); ``program`` tells apart several that do the same step."""
    sink = _Tracing.sink
    if sink is None or int.from_bytes(packet_id[24:32]) >= _Tracing.below:
        return
    root = int.from_bytes(packet_id[16:24])
    is_root = name == ROOT
    own = root if is_root else _span_id(packet_id, name, program)
    named = {"service.instance.id": program, **attributes} if program else attributes
    trace = int.from_bytes(packet_id[:16])
    sink.take(Span(name, trace, own, None if is_root else root, start_ms, max(start_ms, end_ms), named))


def _span_id(packet_id: bytes, name: str, program: str) -> int:
    return int.from_bytes(sha256(b"\0".join((packet_id, name.encode(), program.encode()))).digest()[:8])
