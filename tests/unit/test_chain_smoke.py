"""The whole core in one pass: log to blocks, blocks to the same state."""

import pytest

from pipeline.core.admission import TICK_VALUE
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Opened, Packet, open_packet, parse_packet
from pipeline.core.replica import Extended, extend
from pipeline.core.sealing import Suite
from tests.support.world import NOW_MS, PERIOD_MS, World, control_value, packet_value


@pytest.mark.parametrize("suite", list(Suite))
def test_a_sealed_packet_opens_to_its_records(suite: Suite) -> None:
    site = World().site(1, suite)
    raw = site.packet([5, 6, 7])
    packet = parse_packet(raw)
    assert isinstance(packet, Packet)
    opened = open_packet(packet, site.platform_key)
    assert isinstance(opened, Opened)
    assert opened.records == tuple(site.record(value) for value in (5, 6, 7))


def test_blocks_alone_give_the_state_that_the_log_gave() -> None:
    world = World()
    sites = [world.site(i, suite) for i, suite in enumerate(Suite)]
    values = [control_value(raw) for site in sites for raw in world.enrolment(site)]
    for _ in range(3):
        values += [packet_value(site.packet([1, 2])) for site in sites]
        values.append(TICK_VALUE)
    deriver, closed, outcomes = Deriver(world.state()), [], []
    for offset, value in enumerate(values):
        fed = deriver.feed(LogRecord(offset, NOW_MS + offset * PERIOD_MS // 4, value))
        outcomes.append(fed.outcome)
        closed.extend(fed.closed)
    assert set(outcomes) == {Outcome.ADMITTED, Outcome.TICK}
    replica = world.state()
    for derived in closed:
        assert isinstance(derived, Derived)
        assert isinstance(extend(replica, world.certified(derived)), Extended)
    log_state = world.state()
    again = Deriver(log_state)
    for offset, value in enumerate(values[: closed[-1].block.header.source.next]):
        again.feed(LogRecord(offset, NOW_MS + offset * PERIOD_MS // 4, value))
    assert replica.tables == log_state.tables
