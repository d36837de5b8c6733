"""The validator over fakes: who gets through, what is said of the others, and the order of sending and committing."""

import dataclasses
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from pipeline.core import avro
from pipeline.core.admission import TICK_VALUE, enact, judge, parse_value
from pipeline.core.contract import Contract, SuiteTerm
from pipeline.core.control import Control, Revoke
from pipeline.core.errors import TransientError
from pipeline.core.names import MAX_LONG, MAX_TIME_MS, SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.packet import MAX_PACKET_BYTES, PacketDraft, seal_packet
from pipeline.core.sealing import Suite
from pipeline.ports import Received
from pipeline.services.rate_limit import Rate, RateLimit
from schemas import schema
from tests.support.chain import MemoryReader, MemoryTopic
from tests.support.kafka_fakes import Fault, read_rejection
from tests.support.validation import TOPICS, Bench, TestClock, changed_packet, enrolments, registration_value
from tests.support.world import NOW_MS, TestSite, World, control_value, packet_value, secret


@pytest.fixture
def world() -> World:
    return World()


def sealed(site: TestSite, sequence: int, time_ms: int) -> bytes:
    """Return a genuine packet with any sequence and time."""
    draft = PacketDraft(
        site.chain, site.name, "module-1", sequence, site.previous, time_ms, time_ms, site.suite
    )
    raw = seal_packet(
        draft,
        [site.record(1, time_ms)],
        [site.platform_key.public],
        site.signer,
        seed=secret("s"),
        content_key=secret("c"),
    )
    return packet_value(raw)


async def test_packets_of_an_enrolled_site_reach_the_chain_log_unchanged_and_in_order(world: World) -> None:
    site = world.site(1)
    values = [packet_value(site.packet([n])) for n in range(3)]
    bench = Bench(world, enrolments(world, [site]), {0: values})
    await bench.run()
    assert bench.admitted == values
    sent = bench.producer.topics[world.genesis.topic]
    assert {(r.partition, r.key, r.headers) for r in sent} == {(world.genesis.partition, None, ())}
    assert bench.reasons == []


@pytest.mark.parametrize("suite", list(Suite))
async def test_each_suite_gets_through_for_a_site_enrolled_with_it(world: World, suite: Suite) -> None:
    site = world.site(1, suite)
    bench = Bench(world, enrolments(world, [site]), {0: [packet_value(site.packet())]})
    await bench.run()
    assert len(bench.admitted) == 1


def array_bomb(packet: bytes) -> bytes:
    """Return a packet whose recipients are announced as sixteen million."""
    fields = avro.decode(schema("Packet"), packet)
    assert fields is not None
    empty = avro.encode(schema("Packet"), fields | {"recipients": [], "encrypted_kpi_data": b""})
    return empty[: -(64 + 2)] + b"\x80\x80\x80\x10"


BAD_VALUES: dict[str, tuple[Callable[[World, TestSite], bytes | None], Outcome]] = {
    "nothing": (lambda _w, _s: None, Outcome.EMPTY),
    "no bytes": (lambda _w, _s: b"", Outcome.EMPTY),
    "random bytes": (lambda _w, _s: secret("random", 500), Outcome.FOREIGN_SCHEMA),
    "framed random bytes": (lambda _w, _s: packet_value(secret("random", 500)), Outcome.MALFORMED),
    "a frame alone": (lambda _w, _s: packet_value(b""), Outcome.MALFORMED),
    "truncated": (lambda _w, s: packet_value(s.packet())[:-1], Outcome.MALFORMED),
    "too large by one": (lambda _w, _s: packet_value(bytes(MAX_PACKET_BYTES + 1)), Outcome.OVERSIZED),
    "as large as the topic takes": (lambda _w, _s: bytes(70_000), Outcome.OVERSIZED),
    "a foreign schema": (lambda _w, s: b"\0\0\0\0\x63" + s.packet(), Outcome.FOREIGN_SCHEMA),
    "a tick": (lambda _w, _s: TICK_VALUE, Outcome.FOREIGN_SCHEMA),
    "a control record": (lambda w, s: control_value(w.enrolment(s)[0]), Outcome.FOREIGN_SCHEMA),
    "trailing bytes": (lambda _w, s: packet_value(s.packet()) + b"\0", Outcome.MALFORMED),
    "an over-long integer": (lambda _w, s: packet_value(b"\x82\x00" + s.packet()[1:]), Outcome.MALFORMED),
    "an array bomb": (lambda _w, s: packet_value(array_bomb(s.packet())), Outcome.MALFORMED),
    "year 1": (lambda _w, s: changed_packet(s, collected_from=-62_135_596_800_000), Outcome.OUT_OF_RANGE),
    "year 10000": (lambda _w, s: changed_packet(s, collected_to=MAX_TIME_MS + 1), Outcome.OUT_OF_RANGE),
    "sequence 0": (lambda _w, s: changed_packet(s, sequence=0), Outcome.OUT_OF_RANGE),
    "suite 99": (lambda _w, s: changed_packet(s, suite=99), Outcome.OUT_OF_RANGE),
    "another chain": (lambda _w, s: changed_packet(s, chain=bytes(32)), Outcome.WRONG_CHAIN),
    "an unknown site": (lambda w, _s: packet_value(w.site(9).packet()), Outcome.UNKNOWN_SITE),
    "a key of another site": (lambda _w, s: changed_packet(s, site_key=bytes(32)), Outcome.WRONG_KEY),
    "a suite not enrolled": (lambda _w, s: changed_packet(s, suite=int(Suite.XWING)), Outcome.SUITE_REFUSED),
    "a forged signature": (lambda _w, s: changed_packet(s, signature=bytes(64)), Outcome.BAD_SIGNATURE),
    "changed data": (lambda _w, s: changed_packet(s, encrypted_kpi_data=bytes(300)), Outcome.BAD_SIGNATURE),
}


@pytest.mark.parametrize("case", BAD_VALUES)
async def test_a_bad_record_is_refused_by_name_and_stops_nobody(world: World, case: str) -> None:
    """The record before and the one after get through; the dead letter has reason, place and bytes; it is counted."""
    site = world.site(1)
    registered = enrolments(world, [site])
    make, outcome = BAD_VALUES[case]
    first = packet_value(site.packet())
    bad = make(world, dataclasses.replace(site))
    last = packet_value(site.packet())
    counted = {"outcome": outcome.label}
    before = REGISTRY.get_sample_value("bkdms_validator_outcomes_total", counted) or 0
    bench = Bench(world, registered, {2: [first, bad, last]})
    await bench.run()
    assert bench.admitted == [first, last]
    letter = read_rejection(bench.producer.topics[TOPICS.rejected][0])
    assert letter == {
        "stage": "validator",
        "reason": outcome.label,
        "topic": TOPICS.packets,
        "partition": 2,
        "offset": 1,
        "time": NOW_MS,
        "value": bad or b"",
        "value_length": len(bad or b""),
    }
    assert REGISTRY.get_sample_value("bkdms_validator_outcomes_total", counted) == before + 1


async def test_a_dead_letter_has_the_headers_that_other_tools_expect(world: World) -> None:
    bench = Bench(world, [], {1: [b"rubbish"]})
    await bench.run()
    headers = dict(bench.producer.topics[TOPICS.rejected][0].headers)
    assert headers == {
        "__connect.errors.topic": b"kpi.packets.v1",
        "__connect.errors.partition": b"1",
        "__connect.errors.offset": b"0",
        "__connect.errors.stage": b"validator",
        "__connect.errors.exception.class.name": b"bkdms.foreign_schema",
        "__connect.errors.exception.message": b"validator refused the record: foreign schema",
    }


@pytest.mark.parametrize(
    ("sequence", "time_ms", "outcome"),
    [(1, MAX_TIME_MS, Outcome.TOO_NEW), (MAX_LONG, NOW_MS, Outcome.SEQUENCE_JUMP)],
)
async def test_absurd_but_genuine_values_are_for_the_nodes_to_refuse(
    world: World, sequence: int, time_ms: int, outcome: Outcome
) -> None:
    """A filter that knows neither continuation nor grants lets them pass; the full rules name them."""
    site, state = world.site(1), world.state()
    enrolment = world.enrolment(site)
    for raw in enrolment:
        parsed = parse_value(control_value(raw))
        assert isinstance(parsed, Control)
        enact(state, parsed)
    value = sealed(site, sequence, time_ms)
    bench = Bench(world, [registration_value(world, enrolment[0], 1)], {0: [value]})
    await bench.run()
    assert bench.admitted == [value]
    assert judge(state, parse_value(value), NOW_MS) is outcome


async def test_a_revoked_site_is_refused_even_when_its_enrolment_was_compacted_away(world: World) -> None:
    site = world.site(1)
    world.enrolment(site)
    revoke = world.control(Revoke(site.name, site.signer.public.fingerprint, "stolen"))
    bench = Bench(world, [registration_value(world, revoke, 5)], {0: [packet_value(site.packet())]})
    await bench.run()
    assert bench.reasons == ["inactive_site"]


async def test_a_suite_is_refused_after_its_expiry(world: World) -> None:
    world = World(contract=Contract(suites=(SuiteTerm(Suite.LIGHT, NOW_MS - 1),)))
    site = world.site(1)
    bench = Bench(world, enrolments(world, [site]), {0: [packet_value(site.packet())]})
    await bench.run()
    assert bench.reasons == ["suite_refused"]


class LateReader(MemoryReader):
    """Brings a registration only once somebody asks again where the topic ends."""

    def __init__(self, late: bytes) -> None:
        self._late_topic = MemoryTopic(TOPICS.sites)
        super().__init__(self._late_topic)
        self._late, self._asked = late, 0

    async def bounds(self) -> tuple[int, int]:
        self._asked += 1
        if self._asked == 2:
            self._late_topic.values.append(self._late)
        return await super().bounds()


class CountingReader(MemoryReader):
    """Counts how often it is asked where the topic ends."""

    asked = 0

    async def bounds(self) -> tuple[int, int]:
        self.asked += 1
        return await super().bounds()


async def test_one_look_at_the_registrations_covers_what_was_appended_before(world: World) -> None:
    """A flood of unknown sites costs one look, not one a batch; what comes later costs another."""
    sites = CountingReader(MemoryTopic(TOPICS.sites))
    values = [packet_value(world.site(n).packet()) for n in range(2, 12)]
    bench = Bench(world, [], {0: values[:9]}, sites=sites, batch_records=3)
    await bench.run()
    assert (len(bench.reasons), sites.asked) == (9, 2)
    bench.reader.append(0, values[9])
    await bench.validator.step()
    assert (len(bench.reasons), sites.asked) == (10, 3)


class EndlessReader(MemoryReader):
    """Says that there is one more record than it ever brings, once it has a clock; waiting takes time."""

    clock: TestClock | None = None

    async def bounds(self) -> tuple[int, int]:
        return 0, 0 if self.clock is None else 1

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        if self.clock is not None:
            self.clock.now += timeout_ms
        return []


async def test_an_unknown_site_is_refused_only_by_registrations_as_of_now(world: World) -> None:
    """The enrolment that was on its way when the packet was read counts."""
    site = world.site(1)
    late = LateReader(enrolments(world, [site])[0])
    bench = Bench(world, [], {0: [packet_value(site.packet())]}, sites=late)
    await bench.run()
    assert (len(bench.admitted), bench.reasons) == (1, [])


async def test_nobody_is_refused_while_registrations_cannot_be_read_to_their_end(world: World) -> None:
    site = world.site(1)
    sites = EndlessReader(MemoryTopic())
    bench = Bench(world, [], {0: [packet_value(site.packet())]}, sites=sites)
    await bench.validator.open()
    sites.clock = bench.clock
    with pytest.raises(TransientError, match="registrations") as caught:
        await bench.validator.step()
    sent, committed = bench.producer.topics, bench.reader.committed
    assert (caught.value.code, sent, committed) == ("registrations_behind", {}, {0: 0})


async def test_registrations_are_read_to_the_end_before_the_first_packet(world: World) -> None:
    sites = [world.site(n) for n in range(30)]
    bench = Bench(world, enrolments(world, sites), {0: [packet_value(s.packet()) for s in sites]})
    before = bench.validator.is_ready
    await bench.run()
    assert (before, bench.validator.is_ready, bench.reasons) == (False, True, [])


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.HALF, Fault.DONE])
async def test_a_failed_send_is_repeated_from_the_last_commit(world: World, fault: Fault) -> None:
    site = world.site(1)
    values: list[bytes | None] = [packet_value(site.packet()) for _ in range(4)]
    faults = [Fault.NONE, fault]
    bench = Bench(world, enrolments(world, [site]), {0: values}, send_faults=faults, batch_records=2)
    assert await bench.run() == 1
    assert bench.admitted[:2] == values[:2]
    assert bench.admitted[-2:] == values[2:]


async def test_a_batch_whose_partitions_moved_on_is_left_to_their_next_holder(world: World) -> None:
    site = world.site(1)
    values = [packet_value(site.packet())]
    bench = Bench(world, enrolments(world, [site]), {0: values}, commit_faults=[Fault.HALF])
    assert await bench.run() == 0
    assert bench.admitted == values * 2


async def test_closing_leaves_the_group_and_lets_the_producer_go(world: World) -> None:
    bench = Bench(world, [], {0: []})
    await bench.run()
    await bench.validator.close()
    assert bench.reader.is_closed
    assert bench.producer.is_closed
    assert not bench.validator.is_ready


async def test_one_sites_rate_delays_its_partition_and_drops_nothing(world: World) -> None:
    """Four packets at two a second and two at once: the other partition gets through with the first two."""
    busy, calm = world.site(1), world.site(2)
    values = [packet_value(busy.packet()) for _ in range(4)]
    others = [packet_value(calm.packet()) for _ in range(2)]
    limit = RateLimit[SiteName](Rate(per_s=2, burst=2))
    bench = Bench(world, enrolments(world, [busy, calm]), {0: values, 1: others}, rate=limit)
    await bench.validator.open()
    began = bench.clock.now
    await bench.validator.step()
    assert bench.admitted == values[:2] + others
    assert bench.reader.held == {0: 2}
    while not bench.reader.is_done:
        bench.clock.now += 100
        await bench.validator.step()
    assert bench.clock.now - began >= 1000
    assert bench.admitted == values[:2] + others + values[2:]


async def test_forged_packets_use_up_nobodys_rate(world: World) -> None:
    site = world.site(1)
    forged = [changed_packet(site, signature=bytes(64)) for _ in range(50)]
    genuine = packet_value(site.packet())
    limit = RateLimit[SiteName](Rate(per_s=1, burst=1))
    bench = Bench(world, enrolments(world, [site]), {0: [*forged, genuine]}, rate=limit)
    await bench.validator.open()
    await bench.validator.step()
    assert bench.admitted == [genuine]
