"""A validator over fakes, with enrolled sites, and what came out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core import avro
from pipeline.core.control import Amend, Control, Enrol, Resume, SiteBody, parse_control
from pipeline.core.errors import TransientError
from pipeline.core.names import SiteName
from pipeline.core.topics import Topics
from pipeline.services.rate_limit import RateLimit
from pipeline.services.registrations import Registrations
from pipeline.services.validator import Validator
from schemas import schema
from tests.support.chain import MemoryReader, MemoryTopic
from tests.support.kafka_fakes import FakeGroupReader, FakeProducer, Fault, read_rejection
from tests.support.world import NOW_MS, TestSite, World, packet_value

TOPICS = Topics()
MAX_STEPS = 200


@dataclass
class TestClock:
    """A clock that stands at ``now`` until a test moves it."""

    __test__ = False
    now: int = NOW_MS

    def now_ms(self) -> int:
        return self.now

    def monotonic_s(self) -> float:
        return self.now / 1000


def registration_value(world: World, control: bytes, height: int, entry: int = 0, **changes: object) -> bytes:
    """Return the framed registration of a control record; ``changes`` replace its fields."""
    parsed = parse_control(control)
    assert isinstance(parsed, Control)
    assert isinstance(parsed.body, SiteBody)
    site = parsed.body.site
    fields = {
        "chain": world.genesis.chain,
        "country": site.country,
        "city": site.city,
        "site_id": site.site_id,
        "active": isinstance(parsed.body, Enrol | Amend | Resume),
        "height": height,
        "entry": entry,
        "control": control,
    }
    kind = schema("SiteRegistration")
    return avro.frame(kind, avro.encode(kind, fields | changes))


def changed_packet(site: TestSite, **changes: object) -> bytes:
    """Return a packet of a site, encoded again with other fields; its signature no longer fits."""
    fields = avro.decode(schema("Packet"), site.packet(advance=False))
    assert fields is not None
    return packet_value(avro.encode(schema("Packet"), fields | changes))


def enrolments(world: World, sites: Sequence[TestSite]) -> list[bytes]:
    """Return the registrations that enrol sites, one block each."""
    return [
        registration_value(world, world.enrolment(site)[0], height) for height, site in enumerate(sites, 1)
    ]


class Bench:
    """One validator, its fakes, and a clock that a test moves."""

    def __init__(
        self,
        world: World,
        registered: Sequence[bytes],
        partitions: Mapping[int, Sequence[bytes | None]],
        *,
        send_faults: Sequence[Fault] = (),
        commit_faults: Sequence[Fault] = (),
        rate: RateLimit[SiteName] | None = None,
        sites: MemoryReader | None = None,
        batch_records: int = 512,
    ) -> None:
        self.world = world
        self.clock = TestClock()
        self.producer = FakeProducer(send_faults)
        self.reader = FakeGroupReader(partitions, self.producer, topic=TOPICS.packets, faults=commit_faults)
        self.sites = sites or MemoryReader(MemoryTopic(TOPICS.sites, list(registered)))
        self.validator = Validator(
            world.genesis,
            TOPICS,
            reader=self.reader,
            producer=self.producer,
            registrations=Registrations(world.genesis, self.sites, self.clock.monotonic_s),
            clock=self.clock,
            rate=rate,
            threads=2,
            batch_records=batch_records,
            monotonic_s=self.clock.monotonic_s,
        )

    async def run(self) -> int:
        """Open and step until everything is committed; return how many steps failed for now."""
        await self.validator.open()
        failed = 0
        for _ in range(MAX_STEPS):
            if self.reader.is_done:
                return failed
            try:
                await self.validator.step()
            except TransientError:
                failed += 1
            self.clock.now += 100
        raise AssertionError("the validator does not get through")

    @property
    def admitted(self) -> list[bytes | None]:
        """What is on the chain log."""
        return self.producer.values(self.world.genesis.topic)

    @property
    def reasons(self) -> list[str]:
        """The reasons of the dead letters."""
        letters = [read_rejection(record) for record in self.producer.topics.get(TOPICS.rejected, [])]
        return [letter["reason"] for letter in letters if letter is not None]
