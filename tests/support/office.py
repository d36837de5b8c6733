"""A registrar's office in memory: accounting that commits at once, and the desk as a command opens it."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.adapters.journal_file import JournalFile
from pipeline.adapters.keystore import new_sealing_key
from pipeline.core.control import Control, Enrol, KeyOffer, Revoke, parse_control
from pipeline.core.errors import TransientError
from pipeline.core.keys import Algorithm, PublicKey
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.sealing import SealingKey
from pipeline.core.state import ChainState
from pipeline.ports import Outgoing
from pipeline.services.access import AccessAnswer, AccessRequest, read_request
from pipeline.services.carrying import Patience
from pipeline.services.registrar import RegistrarDesk
from pipeline.services.registration import approve
from pipeline.services.registry_view import RegistryView
from tests.support.access import REPLY, request_of
from tests.support.chain import Chain, MemoryReader, MemoryTopic
from tests.support.world import TestSite

INDICATOR = "LOCAL:TRAFFIC_SPEED"


@dataclass
class Ledger:
    """Accounting in memory: what is sent to the chain log is in a published block at once, or when released.

    ``crash`` makes the next send fail before or after it had its effect.
    """

    chain: Chain = field(default_factory=Chain)
    topic: MemoryTopic = field(default_factory=MemoryTopic)
    sent: list[bytes] = field(default_factory=list)
    crash: str = ""
    is_held: bool = False

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Take records for the chain log."""
        crash, self.crash = self.crash, ""
        if crash == "before":
            raise TransientError("Kafka is away")
        for record in batch:
            assert (record.topic, record.partition) == (self.chain.world.topic, 0)
            assert record.value is not None
            self.sent.append(record.value)
            self.chain.add(record.value)
        self.publish()
        if crash == "after":
            raise TransientError("Kafka is away")

    def publish(self) -> None:
        """Close the open block and publish what is new, unless blocks are held back."""
        self.chain.close()
        if not self.is_held:
            self.topic.publish(self.chain.certified[len(self.topic.values) :])

    async def close(self) -> None:
        """Leave."""

    @property
    def controls(self) -> list[Control]:
        """The control records in published blocks."""
        entries = [entry for derived in self.chain.blocks for entry in derived.block.entries]
        parsed = [parse_control(entry.payload) for entry in entries]
        return [control for control in parsed if isinstance(control, Control)]


class Office:
    """A registrar's folder, over several runs of the program."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger()
        self.world = self.ledger.chain.world
        self.folder = folder
        self.keys: dict[bytes, SealingKey] = {}

    def desk(self, stack: ExitStack) -> RegistrarDesk:
        """Start the program anew."""
        genesis = self.world.genesis
        journal = stack.enter_context(JournalFile(self.folder / "registrar.json", genesis.chain))
        view = RegistryView(genesis, MemoryReader(self.ledger.topic))
        ticks = iter(range(1_000_000))

        async def sleep(_seconds: float) -> None:
            """Waiting costs no time here."""

        return RegistrarDesk(
            self.world.registrar,
            genesis,
            view,
            journal,
            self.ledger,
            patience=Patience(5_000, sleep, lambda: float(next(ticks))),
        )

    def make_key(self, algorithm: Algorithm) -> PublicKey:
        """Make a platform key."""
        key = new_sealing_key(algorithm)
        self.keys[key.public.fingerprint] = key
        return key.public

    def request(self, site: TestSite) -> AccessRequest:
        """Return a site's checked request."""
        return read_request(request_of(self.world.genesis, site, INDICATOR), self.world.genesis)

    async def approve(self, site: TestSite) -> AccessAnswer:
        """Let a site in, with a program of its own."""
        with ExitStack() as stack:
            request = self.request(site)
            return await approve(self.desk(stack), request, self.make_key, valid_to=MAX_TIME_MS, reply=REPLY)

    async def issue(self, *bodies: Enrol | KeyOffer | Revoke) -> None:
        """Issue records, with a program of its own."""
        with ExitStack() as stack:
            await self.desk(stack).issue(*bodies)

    async def settle(self) -> ChainState:
        """Settle, with a program of its own."""
        with ExitStack() as stack:
            return await self.desk(stack).settle()
