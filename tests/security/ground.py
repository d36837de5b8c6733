"""The ground of the attacks: a deployment as ``bkdms up`` runs it, with enrolled sites, one of them hostile."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import create_engine, text

from ops.tls.principal import Role
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.authority import ChainPlan
from pipeline.apps.desk import open_desk
from pipeline.apps.keys import key_files
from pipeline.apps.local.deployment import DEFAULT_URL, LocalDeployment, LocalPlan
from pipeline.apps.local.status import samples
from pipeline.config import load_settings
from pipeline.core.block import certified_body, parse_certified
from pipeline.core.contract import Contract
from pipeline.core.control import Body, Control, Enrol, KeyOffer, possession_message, sign_control
from pipeline.core.genesis import Genesis
from pipeline.core.keys import PublicKey, Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.sealing import SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer, P256Signer, Signer
from pipeline.core.state import START
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from tests.security.fates import Fates
from tests.support.world import TestSite, packet_value, site_name

PERIOD_MS: Final = 500
INDICATORS: Final = ("LOCAL:TRAFFIC_SPEED",)
HISTORY: Final = 3
_HEIGHT: Final = "bkdms_node_height"
_POLL_S: Final = 0.1
_PATIENCE_S: Final = 40.0


@dataclass(frozen=True, slots=True)
class _Offered:
    """The public half of a platform key, which is all that a site has of it."""

    public: PublicKey


@dataclass
class Ground:
    """The running deployment; ``hostile`` is enrolled like ``victim`` and has its own certificate and key."""

    deployment: LocalDeployment
    genesis: Genesis
    topics: Topics
    fates: Fates
    producers: dict[str, IdempotentProducer] = field(default_factory=dict)
    sites: dict[str, TestSite] = field(default_factory=dict)
    enrolments: dict[str, Control] = field(default_factory=dict)
    history: list[bytes] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    _beating: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def hostile(self) -> TestSite:
        """The enrolled site that attacks."""
        return self.sites["hostile"]

    @property
    def victim(self) -> TestSite:
        """The enrolled site that behaves."""
        return self.sites["victim"]

    def now_ms(self) -> int:
        """Return the time."""
        return SystemClock().now_ms()

    def files(self, role: Role, name: str) -> TlsFiles:
        """Return the certificate of a principal, which is made when missing."""
        found = self.deployment.stack.credentials(role, name)
        return TlsFiles(found.ca, found.certificate, found.key)

    def connection(self, role: Role, name: str) -> KafkaConnection:
        """Return a way to Kafka as a principal."""
        return KafkaConnection(self.deployment.stack.kafka_bootstrap, self.files(role, name), name)

    async def send(self, role: Role, name: str, topic: str, *values: bytes | None) -> None:
        """Write values to partition 0 of a topic as a principal; each keeps one connection."""
        who = f"{role.value}:{name}"
        if who not in self.producers:
            self.producers[who] = IdempotentProducer(self.connection(role, name))
        await self.producers[who].send([Outgoing(topic, value, b"hostile", 0) for value in values])

    async def as_site(self, *values: bytes | None) -> None:
        """Send to the packets topic with the hostile site's certificate."""
        await self.send(Role.SITE, "hostile", self.topics.packets, *values)

    async def past_validators(self, *values: bytes | None) -> None:
        """Write to the chain log with a stolen certificate of a validator."""
        await self.send(Role.VALIDATOR, "stolen", self.topics.chain, *values)

    async def stored(self, raw: bytes) -> str:
        """Return what the platform stored a packet as: ``ok``, or its status and reason."""
        rows = await self.until(
            lambda: self.query("SELECT status, reason FROM kpi_records WHERE city_data = :raw", raw=raw)
        )
        return ": ".join(filter(None, rows[0]))

    def query(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the platform's store."""
        engine = create_engine(self.deployment.stack.database_url(Role.PLATFORM, "attacks"))
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(statement), values)]
        finally:
            engine.dispose()

    def metric(self, program: str, name: str, **labels: str) -> float:
        """Return what a program's metrics page says, added up over labels that are not given."""
        port = next(one.port for one in self.deployment.programs() if one.name == program)
        found = (sample for sample in samples(self.deployment.data_dir, program, port) if sample.name == name)
        return sum(sample.value for sample in found if labels.items() <= sample.labels.items())

    async def until(self, asked: Any, timeout_s: float = _PATIENCE_S) -> Any:
        """Return the first true answer to a question that blocks.

        Raises:
            TimeoutError: there was none in time.
        """
        async with asyncio.timeout(timeout_s):
            while not (found := await asyncio.to_thread(asked)):
                await asyncio.sleep(_POLL_S)
        return found

    async def issue(self, *bodies: Body) -> tuple[Control, ...]:
        """Let the registrar issue records, and wait until they are in blocks."""
        async with open_desk(load_settings(self.deployment.settings_file)) as opened:
            return await opened.desk.issue(*bodies)

    async def signed_by_registrar(self, body: Body) -> bytes:
        """Return a record that the registrar's key signed at its next place, without anybody having looked at it."""
        async with open_desk(load_settings(self.deployment.settings_file)) as opened:
            state = await opened.desk.settle()
            last = state.tables.issuers.get(opened.signer.public.fingerprint, START)
            return sign_control(self.genesis.chain, opened.signer, last.sequence + 1, last.last_id, body)

    async def enrol(self, label: str, number: int, suite: Suite = Suite.LIGHT) -> TestSite:
        """Enrol a site with a key of its own and an offered key of the platform."""
        kind = P256Signer if suite is Suite.P256 else Ed25519Signer
        signer: Signer = kind(secrets.token_bytes(32), Use.SITE)
        async with open_desk(load_settings(self.deployment.settings_file)) as opened:
            key = _Offered(opened.make_key(SEALING_ALGORITHM[suite]))
            site = TestSite(site_name(number), signer, suite, self.genesis.chain, cast("SealingKey", key))
            offer = KeyOffer(site.name, 1, key.public.algorithm, key.public.raw, MAX_TIME_MS)
            enrolment, _ = await opened.desk.issue(enrolling(site), offer)
        self.sites[label], self.enrolments[label] = site, enrolment
        return site

    async def prepare(self) -> None:
        """Enrol everybody, and let the hostile site send some good packets first."""
        for number, label in enumerate(("hostile", "victim", "revoked", "steady"), 0xA1):
            await self.enrol(label, number)
        await self.enrol("p256", 0xB1, Suite.P256)
        self.history = [self.hostile.packet([value], time_ms=self.now_ms()) for value in range(HISTORY)]
        values = list(map(packet_value, self.history))
        await self.as_site(*values)
        for value in values:
            assert await self.fates.of(value) == "admitted"

    async def beat(self) -> None:
        """Let a site that nobody attacks send on and on: dead letters of nodes leave with the next block."""
        site = self.sites["steady"]
        while True:
            async with self._beating:
                value = packet_value(site.packet([1], time_ms=self.now_ms()))
                await self.send(Role.SITE, "steady", self.topics.packets, value)
            await asyncio.sleep(PERIOD_MS / 1000)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Let nothing be sent meanwhile, and so no block be made; what was sent before is in blocks at the start."""
        async with self._beating:
            nodes = self.genesis.policy.node_names
            await self.until(
                lambda: len({self.metric(name, _HEIGHT, stage="published") for name in nodes}) == 1
            )
            await self.until(lambda: self.metric(nodes[0], _HEIGHT, stage="derived") <= self.height())
            yield

    def height(self) -> int:
        """Return the height of the newest block that was published."""
        parsed = parse_certified(certified_body(self.fates.blocks[-1]))
        assert parsed is not None
        return parsed[0].header.height

    def tree_size(self) -> int:
        """Return the leaves of the tree after the newest block."""
        parsed = parse_certified(certified_body(self.fates.blocks[-1]))
        assert parsed is not None
        return parsed[0].header.tree_size

    def node_signer(self, name: str) -> Signer:
        """Return the first cosigning key of a node, as whoever took it would."""
        settings = load_settings(self.deployment.data_dir / "settings" / f"{name}.toml")
        return key_files(settings).signer(settings.node_key, Use.NODE)

    async def close(self) -> None:
        """Leave Kafka."""
        for producer in self.producers.values():
            await producer.close()


def enrolling(site: TestSite, indicators: Sequence[str] = INDICATORS) -> Enrol:
    """Return the enrolment of a site, with proof of possession of its key."""
    key = site.signer.public
    possession = site.signer.sign(possession_message(site.chain, site.name, key.fingerprint))
    return Enrol(site.name, key.algorithm, key.raw, possession, (site.suite,), tuple(indicators))


@asynccontextmanager
async def open_ground(folder: Path) -> AsyncIterator[Ground]:
    """Start everything on a fresh chain, PostgreSQL included, and enrol the sites."""
    chain = ChainPlan(DEFAULT_URL, contract=Contract(period_ms=PERIOD_MS))
    deployment = LocalDeployment(folder, LocalPlan(chain, has_postgres=True), is_short_lived=True)
    await asyncio.to_thread(deployment.start)
    try:
        topics = Topics(deployment.plan.chain.topic_prefix)
        files = deployment.stack.credentials(Role.AUDITOR, "attacks")
        auditor = KafkaConnection(
            deployment.stack.kafka_bootstrap, TlsFiles(files.ca, files.certificate, files.key), "attacks"
        )
        ground = Ground(deployment, deployment.genesis, topics, Fates(auditor, topics))
        following = [asyncio.create_task(ground.fates.run())]
        try:
            await ground.prepare()
            following.append(asyncio.create_task(ground.beat()))
            yield ground
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            await ground.close()
    finally:
        await asyncio.to_thread(deployment.stop)
