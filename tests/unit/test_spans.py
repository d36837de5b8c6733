"""Traces of packets: every program's spans of a packet are of one trace, and nothing is traced unasked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

import pytest

from pipeline.adapters.otlp import OtlpSink
from pipeline.core.errors import ConfigError
from pipeline.telemetry import spans
from pipeline.telemetry.spans import Span
from tests.support.collector import running_collector

PACKET = sha256(b"a packet").digest()


@dataclass
class Kept:
    """A sink that keeps spans."""

    spans: list[Span] = field(default_factory=list)

    def take(self, span: Span) -> None:
        self.spans.append(span)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """All packets are traced, to here."""
    sink = Kept()
    spans.send_to(sink)
    yield sink
    spans.send_to(None)


def test_steps_of_a_packet_hang_under_one_root_whoever_makes_them(kept: Kept) -> None:
    spans.record("node.commit", PACKET, 2, 3, "node-1")
    spans.record("node.commit", PACKET, 2, 3, "node-2")
    spans.record(spans.ROOT, PACKET, 1, 9)
    *steps, root = kept.spans
    assert {span.trace_id for span in kept.spans} == {int.from_bytes(PACKET[:16])}
    assert (root.parent_id, {span.parent_id for span in steps}) == (None, {root.span_id})
    assert len({span.span_id for span in kept.spans}) == 3


def test_a_repeated_step_is_the_same_span(kept: Kept) -> None:
    spans.record("platform.store", PACKET, 2, 3)
    spans.record("platform.store", PACKET, 2, 5)
    assert len({span.span_id for span in kept.spans}) == 1


def test_a_step_never_ends_before_it_began(kept: Kept) -> None:
    spans.record("platform.store", PACKET, 5, 3)
    assert kept.spans[0].end_ms == 5


def test_a_share_of_packets_is_traced_and_every_program_picks_the_same(kept: Kept) -> None:
    spans.send_to(kept, 0.25)
    packets = [sha256(bytes([number, 1])).digest() for number in range(200)]
    for packet in packets:
        spans.record("node.commit", packet, 0, 0)
    first = {span.trace_id for span in kept.spans}
    for packet in packets:
        spans.record("platform.store", packet, 0, 0)
    assert 25 <= len(first) <= 75
    assert {span.trace_id for span in kept.spans[len(first) :]} == first


def test_nothing_is_traced_unless_asked() -> None:
    assert not spans.is_on()
    spans.record("node.commit", PACKET, 2, 3)


def test_a_collector_gets_what_was_recorded() -> None:
    with running_collector() as collector:
        sink = OtlpSink(collector.endpoint, "bkdms-node", "1.0")
        spans.send_to(sink)
        spans.record("node.commit", PACKET, 2_000, 3_000, "node-1", height=7)
        spans.send_to(None)
        sink.close()
    ((program, span),) = collector.spans[PACKET[:16]]
    told = {item.key: item.value.int_value or item.value.string_value for item in span.attributes}
    assert (program, span.name, span.parent_span_id) == ("bkdms-node", "node.commit", PACKET[16:24])
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (2_000_000_000, 3_000_000_000)
    assert told == {"height": 7, "service.instance.id": "node-1"}


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://127.0.0.1/"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"traces\.endpoint"):
        OtlpSink(endpoint, "bkdms-node", "1.0")
