"""The validator whatever comes and whatever fails: nothing crashes it, nothing is lost, order stays."""

import asyncio
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.admission import enact, judge, parse_value
from pipeline.core.control import Control
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet
from pipeline.services.site_directory import SiteDirectory
from pipeline.services.validator import parse_submitted
from tests.support.kafka_fakes import Fault
from tests.support.validation import Bench, registration_value
from tests.support.world import NOW_MS, World, control_value, packet_value

FAULTS = st.lists(st.sampled_from(Fault), max_size=8)
SITES = 3


@cache
def genuine() -> tuple[World, list[bytes], tuple[bytes, ...], tuple[tuple[bytes, ...], ...]]:
    """Return a world, its control records, the registrations, and four packets of each of three sites."""
    world = World()
    sites = [world.site(number) for number in range(SITES)]
    controls = [raw for site in sites for raw in world.enrolment(site)]
    registered = tuple(registration_value(world, raw, n + 1) for n, raw in enumerate(controls[::2]))
    packets = tuple(tuple(packet_value(site.packet([n])) for n in range(4)) for site in sites)
    return world, controls, registered, packets


@given(st.binary(max_size=400))
def test_any_bytes_are_a_packet_or_a_named_refusal(data: bytes) -> None:
    assert isinstance(parse_submitted(packet_value(data)), Packet | Outcome)
    assert isinstance(parse_submitted(data), Packet | Outcome)


@given(st.data())
def test_a_packet_with_one_changed_byte_is_refused_by_name(data: st.DataObject) -> None:
    world, _, registered, packets = genuine()
    value = bytearray(packets[0][0])
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    bench = Bench(world, registered, {0: [bytes(value)]})
    asyncio.run(bench.run())
    assert bench.admitted == []
    assert bench.reasons[0] in {outcome.label for outcome in Outcome if outcome.is_refusal}


@given(st.one_of(st.binary(max_size=400), st.integers(0, 500)), st.integers(1, 255))
def test_any_bytes_as_registration_enrol_nobody(data: bytes | int, change: int) -> None:
    """Neither random bytes nor a genuine registration with one byte changed, but for its unsigned place."""
    world, _, registered, _ = genuine()
    directory = SiteDirectory(world.genesis)
    if isinstance(data, int):
        forged = bytearray(registered[0])
        at = data % len(forged)
        forged[at] ^= change
        data = bytes(forged)
    outcome = directory.apply(data)
    place_changed = outcome is Outcome.ADMITTED and data[-400:] == registered[0][-400:]
    assert outcome.is_refusal or place_changed
    assert len(directory) == (1 if place_changed else 0)


@settings(max_examples=60)
@given(FAULTS, FAULTS, st.integers(1, 7), st.permutations([n for n in range(SITES) for _ in range(4)]))
def test_faults_neither_lose_nor_reorder_a_packet(
    send_faults: list[Fault], commit_faults: list[Fault], batch_records: int, turns: list[int]
) -> None:
    """By the full rules of admission, every packet on the chain log is admitted once, the rest are repeats."""
    world, controls, registered, packets = genuine()
    queues = [list(queue) for queue in packets]
    values = [queues[site].pop(0) for site in turns]
    bench = Bench(
        world,
        registered,
        {0: [v for v in values if v not in packets[2]], 1: [v for v in values if v in packets[2]]},
        send_faults=send_faults,
        commit_faults=commit_faults,
        batch_records=batch_records,
    )
    asyncio.run(bench.run())
    state = world.state()
    for raw in controls:
        parsed = parse_value(control_value(raw))
        assert isinstance(parsed, Control)
        enact(state, parsed)
    admitted = []
    for value in bench.admitted:
        packet = parse_value(value)
        assert isinstance(packet, Packet)
        outcome = judge(state, packet, NOW_MS)
        if outcome is Outcome.ADMITTED:
            enact(state, packet)
            admitted.append(value)
        assert outcome in {Outcome.ADMITTED, Outcome.DUPLICATE, Outcome.STALE, Outcome.BROKEN_LINK}
    assert sorted(v for v in admitted if v) == sorted(values)
    assert bench.reasons == []
