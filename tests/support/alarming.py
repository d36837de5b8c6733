"""Everything that an alert is for, made to happen on a whole deployment until Prometheus fires it."""

import asyncio
import contextlib
import resource
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from ops.stack import utc_now
from ops.tls.authority import Authority, CertificateFiles
from ops.tls.holders import PKI_FOLDER, certificate_folder
from ops.tls.principal import Principal, Role
from pipeline.adapters.kafka import IdempotentProducer
from pipeline.adapters.redis_ledger import RedisLedger
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.demo.liar import Liar
from pipeline.apps.workers.account import redis_connection
from pipeline.config import load_settings
from pipeline.core.keys import Use
from pipeline.core.packet import packet_id
from pipeline.core.policy_file import log_verifier
from pipeline.ports import LedgerBlock, Outgoing
from tests.support.eventful import EXPORTER, GAP, LIAR, Eventful
from tests.support.witness import HonestWitness

RUBBISH: Final = 3_000
FACTOR: Final = 30
# What the rules would wait for longer than a test can, though the event is the real one.
THRESHOLDS: Final = {
    "process_start_time_seconds[30s]) > 2": "process_start_time_seconds[120s]) > 1",
    "bkdms_consumer_lag_records) > 10000": "bkdms_consumer_lag_records) > 1000",
    "bkdms_export_unpublished_leaves[120s]": "bkdms_export_unpublished_leaves[15s]",
    "bkdms_site_oldest_unconfirmed_seconds > 1800": "bkdms_site_oldest_unconfirmed_seconds > 8",
}
_DEADLINE_S: Final = 60
# More than a validator with a rate of two in a second passes on until the alert fires.
_WAITING: Final = 1_500
_HTTP_TIMEOUT_S: Final = 30
_POLL_S: Final = 0.1


@dataclass
class Alarming(Eventful):
    """Events that last until their alerts fire; ``silent`` are those that did not, with what fired instead.

    ``calm`` is what fired before anything happened, ``unseen`` the programs that the stack's own Prometheus missed.
    """

    silent: dict[str, str] = field(default_factory=dict)
    fired: set[str] = field(default_factory=set)
    calm: set[str] | None = None
    unseen: set[str] | None = None
    pages: dict[str, bytes] = field(default_factory=dict)

    async def fires(self, *names: str) -> None:
        """Wait until alerts have fired, each at its own time; the next event happens though one does not."""
        missing = set(names)
        deadline_s = _DEADLINE_S * len(names)
        end = time.monotonic() + deadline_s
        while missing and time.monotonic() < end:
            firing = await asyncio.to_thread(self.prometheus.firing)
            self.fired |= missing & firing
            missing -= firing
            await asyncio.sleep(_POLL_S)
        for name in missing:
            states = sorted({(alert.name, alert.state) for alert in self.prometheus.alerts()})
            self.silent[name] = f"{name} does not fire within {deadline_s} s: {states}"

    @asynccontextmanager
    async def without(self, *names: str) -> AsyncIterator[None]:
        """Stop programs until the block ends."""
        for name in names:
            await self.stop(name)
        try:
            yield
        finally:
            for name in names:
                await self.start(name)

    async def refusals(self) -> None:
        """Hostile clients, a site that signs twice at one sequence, and rubbish."""
        await self.attack()
        insider = self.scene.insider
        # Another packet at the sequence of the last one.
        await self._send(self._sealed(insider, 2 + GAP, bytes(32)))
        await self.fires("ContentMismatch", "SiteEquivocates")
        await self._send(*(secrets.token_bytes(32) for _ in range(RUBBISH)))
        await self.fires("PacketsRefused")

    async def strangers(self) -> None:
        """Rubbish where only programs of ours may write."""
        for role, topic, count in (
            (Role.VALIDATOR, self.topics.chain, 15),
            (Role.NODE, self.topics.cosignatures, 1),
            (Role.NODE, self.topics.blocks, 1),
        ):
            producer = IdempotentProducer(self.connection(role, f"{role.value}-1"))
            await producer.send([Outgoing(topic, secrets.token_bytes(40), None, 0) for _ in range(count)])
            await producer.close()
        await self.fires("ChainRefusals", "VotesInvalid", "BlocksForged")

    async def redis_damaged(self) -> None:
        """Redis is wiped, and then given a head that nobody certified."""
        await self.wipe_redis()
        await self.fires("LedgerRepaired")
        settings = load_settings(self.deployment.data_dir / "settings" / "node-1.toml")
        ledger = RedisLedger(redis_connection(settings.redis), self.deployment.genesis.chain)
        forged = LedgerBlock(1 << 40, bytes(32), b"header", b"no block")
        for _ in range(20):  # the nodes commit at the same time
            if await ledger.replace(await ledger.head(), [forged], 0):
                break
        await ledger.close()
        await self.fires("LedgerTampered")

    async def quorum_lost(self) -> None:
        """A node lies and then another is away, while a site sends on."""
        async with self.without(LIAR):
            signer = self.deployment.keys.signer(self.deployment.chain.node_key(LIAR), Use.NODE)
            link = self.connection(Role.NODE, LIAR)
            liar = Liar(self.deployment.genesis, self.topics, link, LIAR, signer)
            lying = asyncio.create_task(liar.run())
            try:
                await self.fires("NodeDivergent", "NodeSilent", "ProgramAway")
                async with self.without("node-2"):
                    await self.fires("NoQuorum", "SiteStalled")
            finally:
                lying.cancel()
                await lying

    async def restarted(self) -> None:
        """A program ends again and again."""
        for _ in range(3):
            await self.stop("validator-2")
            await self.start("validator-2")
            await self.happens('bkdms_worker_ready{instance="validator-2"} == 1')
        await self.fires("ProgramRestarting")

    async def certificate_ends(self) -> None:
        """A program starts with a certificate of one day."""
        folder = self.deployment.data_dir / PKI_FOLDER
        principal = Principal(Role.VALIDATOR, "validator-1")
        Authority.load(folder, self.deployment.keys).issue(
            principal,
            certificate_folder(self.deployment.data_dir, principal),
            now=utc_now(),
            lifetime=timedelta(days=1),
        )
        await self.stop("validator-1")
        await self.start("validator-1")
        await self.fires("CertificateEnding", "CertificateEndsNow")

    async def files_run_out(self) -> None:
        """The system allows a program few files."""
        pid = next(child.pid for child in self.deployment.stack.children() if child.name == "platform")
        assert pid is not None
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        in_use = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 2, before[1]))
        try:
            await self.fires("FilesRunningOut")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    async def servers_away(self) -> None:
        """Database, Redis and Kafka are away, one after the other, while a site sends on."""
        async with self.without("postgres"):
            await self.fires("DatabaseAway", "StoreBehind")
        async with self.without("redis"):
            await self.fires("RedisAway")
        # Kafka itself is told of who asks: before it is stopped.
        files = self.deployment.stack.credentials(Role.AUDITOR, "asking")
        asking = asyncio.create_task(self._ask_for_a_packet(files))
        async with self.without("kafka"):
            await self.fires("KafkaAway", "ProgramNotReady", "ApiFailing")
        asking.cancel()

    async def _ask_for_a_packet(self, files: CertificateFiles) -> None:
        """Ask the API for a site's last packet, for ever: its bytes are in Kafka alone."""
        context = client_context(TlsFiles(files.ca, files.certificate, files.key))
        name = self.scene.insider.name
        path = f"/v1/sites/{name.country}/{name.city}/fd62::bad/head?packet=true"

        def ask() -> None:
            with contextlib.suppress(urllib.error.URLError, OSError):
                url = self.deployment.api_url + path
                urllib.request.urlopen(url, timeout=_HTTP_TIMEOUT_S, context=context).close()

        while True:
            await asyncio.to_thread(ask)
            await asyncio.sleep(0.2)

    async def key_lost(self) -> None:
        """The platform's keys are not in their folder."""
        keys = self.deployment.data_dir / "platform" / "keys"
        aside = keys.with_name("aside")
        keys.rename(aside)
        keys.mkdir(mode=0o700)
        try:
            await self.fires("PacketsUnopened")
        finally:
            keys.rmdir()
            aside.rename(keys)

    async def retention(self) -> None:
        """Packets of one site wait for the slow validator, and at last Kafka drops some."""
        async with self.without("validator-1", "validator-2"):
            waiting, last = [], bytes(32)
            for sequence in range(_WAITING):
                waiting.append(self._sealed(self.scene.insider, 100 + sequence, last))
                last = packet_id(waiting[-1])
            await self._send(*waiting)
            await self.fires("PacketsWaiting")
        await self.outlast_retention()
        await self.fires("PacketsExpired")

    async def witness_away(self) -> None:
        """The exporter's policy wants a witness that does not answer."""
        witness = HonestWitness(log_verifier(self.deployment.genesis))
        settings = self._exporter(witness)
        policy = self.folder / "policy.txt"
        # Where nobody listens: the discard port.
        policy.write_text(
            policy.read_text().replace(
                witness.line, f"witness {witness.name} {witness.key} http://127.0.0.1:9/\n"
            )
        )
        self._run(EXPORTER, settings, "worker", "export")
        await self.fires("WitnessesMissing")

    async def api_lost(self) -> None:
        """The API is away; and when it comes back it finds a topic without its beginning."""
        async with self.without("api"):
            await self.fires("NoProgramOfKind")
        try:
            await self.halt_the_api()
        finally:
            await self.fires("ApiHalted", "ApiBehind")


EVENTS: Final = (
    Alarming.refusals,
    Alarming.strangers,
    Alarming.redis_damaged,
    Alarming.quorum_lost,
    Alarming.restarted,
    Alarming.certificate_ends,
    Alarming.files_run_out,
    Alarming.servers_away,
    Alarming.key_lost,
    Alarming.retention,
    Alarming.witness_away,
)
