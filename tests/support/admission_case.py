"""A chain with one enrolled site that has sent a packet, for trying the rules of admission one by one."""

from dataclasses import dataclass, field, replace

from pipeline.core import avro
from pipeline.core.contract import Contract, SuiteTerm
from pipeline.core.control import (
    Body,
    Enrol,
    KeyOffer,
    Revoke,
    possession_message,
    sign_control,
)
from pipeline.core.derive import Deriver, Fed, LogRecord
from pipeline.core.keys import Algorithm
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.outcome import Outcome
from pipeline.core.sealing import SealingKey, Suite
from pipeline.core.signing import Signer
from schemas import schema
from tests.support.world import NOW_MS, PERIOD_MS, TestSite, World, control_value, packet_value, secret

CONTRACT = Contract(
    period_ms=PERIOD_MS,
    max_packet=8 * 1024,
    max_sequence_jump=10,
    suites=(SuiteTerm(Suite.LIGHT), SuiteTerm(Suite.XWING), SuiteTerm(Suite.P256, NOW_MS)),
)


@dataclass
class Case:
    """A chain in which site 1 is enrolled and has sent packet 5, so that every rule has something to bite on."""

    world: World = field(default_factory=lambda: World(contract=CONTRACT))

    def __post_init__(self) -> None:
        self.deriver = Deriver(self.world.state())
        self.site = self.world.site(1)
        self.offset = 0
        self.enrolments = self.world.enrolment(self.site)
        for raw in self.enrolments:
            assert self.feed(control_value(raw)) is Outcome.ADMITTED
        self.packet = self.site.packet([1], sequence=5)
        assert self.feed(packet_value(self.packet)) is Outcome.ADMITTED

    def fed(self, value: bytes | None, time_ms: int = NOW_MS) -> Fed:
        """Put a value into the log."""
        self.offset += 1
        return self.deriver.feed(LogRecord(self.offset - 1, time_ms, value))

    def feed(self, value: bytes | None, time_ms: int = NOW_MS) -> Outcome:
        """Put a value into the log and return what became of it."""
        return self.fed(value, time_ms).outcome

    def send(self, site: TestSite, time_ms: int = NOW_MS, sequence: int | None = None) -> bytes:
        """Return the next packet of a site, framed."""
        return packet_value(site.packet([1], time_ms=time_ms, sequence=sequence))

    def issue(
        self, body: Body, signer: Signer | None = None, chain: bytes | None = None, step: int = 1
    ) -> bytes:
        """Return a control record that continues the registrar's, framed."""
        world, signer = self.world, signer or self.world.registrar
        chain = chain or world.genesis.chain
        return control_value(sign_control(chain, signer, world.sequence + step, world.previous, body))

    def enrolment(self, number: int = 2, **changes: object) -> Enrol:
        """Return the enrolment of another site, or with another key or claim."""
        site = self.world.site(number)
        public = site.signer.public
        claim = site.signer.sign(possession_message(self.world.genesis.chain, site.name, public.fingerprint))
        enrol = Enrol(site.name, public.algorithm, public.raw, claim, (site.suite,), ("LOCAL:X",))
        return replace(enrol, **changes)  # type: ignore[arg-type]

    def offer(self, **changes: object) -> KeyOffer:
        """Return an offer of a second key to site 1."""
        raw = SealingKey(Algorithm.X25519, secret("second")).public.raw
        offer = KeyOffer(self.site.name, 2, Algorithm.X25519, raw, MAX_TIME_MS)
        return replace(offer, **changes)  # type: ignore[arg-type]

    def revoke(self) -> Revoke:
        """Return the revocation of site 1."""
        return Revoke(self.site.name, self.site.signer.public.fingerprint, "lost")

    def control_with(self, **changes: object) -> bytes:
        """Return an unsigned change of a good control record, framed."""
        fields = avro.decode(schema("Control"), self.issue(self.revoke())[5:])
        assert fields is not None
        return control_value(avro.encode(schema("Control"), fields | changes))
