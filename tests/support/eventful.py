"""A whole deployment to which everything happens that a dashboard shows: traffic, attacks, liars, outages, damage.

Each method makes one event happen and returns when its traces can be seen; the last one cannot be undone.
"""

import asyncio
import secrets
import shutil
import sys
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import redis

from ops import ports
from ops.kafka import broker
from ops.ports import HOST
from ops.prometheus.configuration import Target
from ops.redis import server as redis_server
from ops.tls.principal import Role
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader, KafkaTrimmer
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.demo.hostile import HostileClients
from pipeline.apps.demo.liar import Liar
from pipeline.apps.demo.scene import Actor, Scene
from pipeline.apps.local.deployment import LocalDeployment
from pipeline.apps.local.probes import WATCHER
from pipeline.apps.local.settings_file import write_settings
from pipeline.core import avro
from pipeline.core.admission import PACKET_SCHEMA
from pipeline.core.errors import TransientError
from pipeline.core.keys import Use
from pipeline.core.packet import PacketDraft, packet_id, seal_packet
from pipeline.core.policy_file import log_verifier, policy_text
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from pipeline.core.sealing import Suite
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.services.access import read_answer
from tests.support.prometheus import RunningPrometheus
from tests.support.witness import HonestWitness

EXPORTER, SITE, SLOW = "exporter-1", "site-1", "validator-slow"
LIAR = "node-4"
GAP = 7
PATIENCE = 2
LAST_BUNDLED = datetime(2015, 9, 18)  # noqa: DTZ001  local, as in the file
BAD_ROWS = b"no time at all,12\n2015-09-17 17:00:00,many\n"


@dataclass
class Eventful:
    """The deployment, its people and what else is run beside it."""

    deployment: LocalDeployment
    scene: Scene
    folder: Path
    prometheus: RunningPrometheus
    ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def targets(cls, folder: Path, deployment: LocalDeployment) -> tuple[dict[str, int], list[Target]]:
        """Reserve ports for the programs beside the deployment; return them, and whom Prometheus asks there."""
        taken = ports.reserve(folder / "beside.json", [EXPORTER, SITE, SLOW])
        files = deployment.stack.credentials(WATCHER.role, WATCHER.name)
        return taken, [
            Target("export", EXPORTER, f"{HOST}:{taken[EXPORTER]}", files, Role.EXPORTER.page_host),
            Target("validator", SLOW, f"{HOST}:{taken[SLOW]}", files, Role.VALIDATOR.page_host),
            Target("site", SITE, f"{HOST}:{taken[SITE]}"),
        ]

    @property
    def measurements(self) -> Path:
        """The file of the site that goes on measuring."""
        return self.folder / "measurements.csv"

    @property
    def topics(self) -> Topics:
        """The deployment's topics."""
        return Topics(self.deployment.plan.chain.topic_prefix)

    def connection(self, role: Role, name: str) -> KafkaConnection:
        """Return a connection to Kafka with a certificate of a role."""
        files = self.deployment.stack.credentials(role, name)
        tls = TlsFiles(files.ca, files.certificate, files.key)
        return KafkaConnection(self.deployment.stack.kafka_bootstrap, tls, name)

    async def happens(self, expression: str, deadline_s: float = 120) -> None:
        """Wait until Prometheus answers an expression with a series."""
        await asyncio.to_thread(self.prometheus.until, expression, bool, deadline_s)

    async def stop(self, name: str) -> None:
        """Stop a program until it is started again."""
        await asyncio.to_thread(self.deployment.stack.supervisor.stop, name)

    async def start(self, name: str) -> None:
        """Start a stopped program; returns when it is ready, however slow a busy machine is."""
        supervisor = self.deployment.stack.supervisor
        await asyncio.to_thread(supervisor.restart, name, is_awaited=False)
        for _ in range(PATIENCE):
            with suppress(TransientError):
                await asyncio.to_thread(supervisor.await_ready, name)
                return
        await asyncio.to_thread(supervisor.await_ready, name)

    def run_sites(self) -> None:
        """Let all sites send; the first by an agent of its own, that serves metrics and meets bad rows."""
        alone, *others = self.scene.sites
        argv = self.deployment.python(
            "pipeline.apps.demo.sites",
            str(self.folder / "report.json"),
            *(str(actor.settings_file) for actor in others),
        )
        self.deployment.stack.run("sites", argv, is_restarted=False, is_awaited=False)
        table = tomllib.loads(alone.settings_file.read_text("utf-8"))
        head, _, rest = Path(table["site"]["source"]).read_bytes().partition(b"\n")
        self.measurements.write_bytes(head + b"\n" + BAD_ROWS + rest)
        table["site"] |= {"source": str(self.measurements), "packet_records": 1}
        table["site"]["mapping"]["finished"] = False
        table["worker"] = {"metrics_port": self.ports[SITE]}
        self._run(SITE, write_settings(self.folder / "site.toml", table), "site", "run")

    async def measure(self) -> None:
        """Go on measuring at the first site, twice a second, until cancelled; now and then a value is none."""
        time = LAST_BUNDLED
        while True:
            time += timedelta(minutes=5)
            row = f"{time:%Y-%m-%d %H:%M:%S},{200 + time.minute}\n".encode()
            with self.measurements.open("ab") as file:
                file.write(row if time.minute else BAD_ROWS + row)
            await asyncio.sleep(0.5)

    async def attack(self) -> None:
        """Let hostile clients send what must be refused, and an insider leave sequence numbers out."""
        hostile = HostileClients(self.deployment, self.scene, SystemClock().now_ms())
        await hostile.attack()
        last = next(one.raw for one in hostile.attempts if one.expected == "mismatch")
        insider = self.scene.insider
        first = self._sealed(insider, 2, packet_id(last))
        await self._send(first, self._sealed(insider, 2 + GAP, packet_id(first)))

    def _sealed(self, actor: Actor, sequence: int, previous: bytes) -> bytes:
        now_ms = SystemClock().now_ms()
        answer = read_answer((actor.folder / "access.json").read_bytes(), self.scene.genesis)
        offer = answer.offer_for(Suite.LIGHT)
        assert offer is not None
        value = KpiValue("LOCAL:TRAVEL_TIME", "", 240, 0, "SEC")
        extending = Extending("insider", QualityCode.ASSUMPTION_ESTIMATE, "test")
        record = encode_record(UnifiedRecord(actor.name, now_ms, (value,), extending))
        chain = self.scene.genesis.chain
        draft = PacketDraft(chain, actor.name, "m", sequence, previous, now_ms, now_ms, Suite.LIGHT)
        return seal_packet(
            draft,
            [record],
            [offer.key],
            actor.signer,
            seed=secrets.token_bytes(32),
            content_key=secrets.token_bytes(32),
        )

    async def _send(self, *raws: bytes) -> None:
        producer = IdempotentProducer(self.connection(Role.SITE, "eventful"))
        key = self.scene.insider.name.site_id
        values = [avro.frame(PACKET_SCHEMA, raw) for raw in raws]
        await producer.send([Outgoing(self.topics.packets, value, key) for value in values])
        await producer.close()

    def _run(self, name: str, settings: Path, *command: str) -> None:
        argv = (sys.executable, "-m", "pipeline.apps.cli", "--config", str(settings), *command)
        self.deployment.stack.run(name, argv, is_awaited=False)

    async def run_slow_validator(self) -> None:
        """Let one more validator take part, which lets few packets of a site through in a second."""
        await self.happens('count(bkdms_worker_ready{job="validator"} == 1) == 2')
        table = tomllib.loads((self.deployment.data_dir / "settings" / "validator-1.toml").read_text("utf-8"))
        table["kafka"] = self.deployment.kafka_table(Role.VALIDATOR, SLOW)
        table["worker"] = {"metrics_port": self.ports[SLOW]}
        settings = write_settings(self.folder / "slow.toml", table)
        self._run(SLOW, settings, "worker", "validate", "--name", SLOW, "--rate", "2", "--burst", "1")
        await self.happens(f'bkdms_consumer_lag_records{{instance="{SLOW}"}}')
        await self.happens("sum(increase(bkdms_consumer_rebalances_total[1m])) > 0")

    async def export(self) -> None:
        """Export under a witness that is there, goes away and comes back; lose exported files between."""
        witness = HonestWitness(log_verifier(self.deployment.genesis))
        port = ports.reserve(self.folder / "witness.json", ["witness"])["witness"]
        async with witness.served(port):
            self._run(EXPORTER, self._exporter(witness), "worker", "export")
            await self.happens("bkdms_export_tree_size > 0")
            await self.happens('bkdms_export_witness_answers_total{outcome="cosigned"} > 0')
        await self.happens("bkdms_export_unpublished_leaves > 0")
        async with witness.served(port):
            await self.happens("bkdms_export_unpublished_leaves == 0")
            await self.stop(EXPORTER)
            shutil.rmtree(self.folder / "log" / "tile")
            await self.start(EXPORTER)
            await self.happens("bkdms_export_rebuilds_total > 0")

    def _exporter(self, witness: HonestWitness) -> Path:
        chain = policy_text(self.deployment.genesis).replace("quorum accounting-nodes\n", "")
        policy = self.folder / "policy.txt"
        policy.write_text(f"{chain}{witness.line}group all all accounting-nodes {witness.name}\nquorum all\n")
        table = {
            "data_dir": self.folder / "exporter",
            "genesis": self.deployment.chain.genesis_file,
            "topic_prefix": self.deployment.plan.chain.topic_prefix,
            "kafka": self.deployment.kafka_table(Role.EXPORTER, EXPORTER),
            "worker": {"metrics_port": self.ports[EXPORTER]},
            "export": {
                "folder": self.folder / "log",
                "key": self.deployment.chain.log_key,
                "policy": policy,
            },
        }
        return write_settings(self.folder / "exporter.toml", table)

    async def lie(self) -> None:
        """Replace a node by a liar that holds its key, and let another be away, so that there is no quorum."""
        await self.stop(LIAR)
        signer = self.deployment.keys.signer(self.deployment.chain.node_key(LIAR), Use.NODE)
        liar = Liar(self.deployment.genesis, self.topics, self.connection(Role.NODE, LIAR), LIAR, signer)
        lying = asyncio.create_task(liar.run())
        try:
            await self.happens('bkdms_node_votes_total{outcome="divergent"} > 0')
            await self.stop("node-2")
            await self.happens(
                'max(bkdms_node_height{stage="derived"}) - max(bkdms_node_height{stage="committed"}) > 2'
            )
            await self.start("node-2")
        finally:
            lying.cancel()
            await lying
        await self.start(LIAR)

    async def move_the_lease(self) -> None:
        """Kill the node that publishes; another takes over."""
        found = await asyncio.to_thread(self.prometheus.until, "bkdms_node_publishing_lease == 1")
        holder = found[0].labels["instance"]
        await self.stop(holder)
        await self.happens(f'bkdms_node_publishing_lease{{instance!="{holder}"}} == 1')
        await self.start(holder)

    async def lose_the_database(self) -> None:
        """Stop PostgreSQL until a worker says so and waits."""
        await self.stop("postgres")
        await self.happens('bkdms_worker_retries_total{code="database"} > 0')
        await self.happens('bkdms_worker_ready{job=~"platform|assess"} == 0')
        await self.start("postgres")
        await self.happens('sum(bkdms_worker_ready{job=~"platform|assess"}) == 2')

    async def lose_the_api(self) -> None:
        """Stop the API until a site says so."""
        await self.stop("api")
        await self.happens("bkdms_site_retries_total > 0")
        await self.start("api")

    async def lose_kafka(self) -> None:
        """Kill Kafka and start it again."""
        await asyncio.to_thread(self.deployment.stack.supervisor.kill, "kafka")
        await self.happens('bkdms_node_retries_total{code="kafka"} > 0')
        await self.start("kafka")

    async def wipe_redis(self) -> None:
        """Delete what Redis holds of the chain, as its administrator could; the nodes fill it again."""
        files = self.deployment.stack.credentials(broker.ADMIN.role, broker.ADMIN.name)
        client: redis.Redis = redis_server.client(self.deployment.stack.redis_address("admin", files))
        prefix = f"bkdms:{{{self.deployment.genesis.chain.hex()}}}:"
        client.delete(*(prefix + name for name in ("head", "bodies", "headers", "lease")))
        client.close()
        await self.happens("bkdms_ledger_repairs_total > 0")

    async def forge(self) -> None:
        """Put something onto the blocks topic that is no block."""
        producer = IdempotentProducer(self.connection(Role.NODE, "node-1"))
        await producer.send([Outgoing(self.topics.blocks, b"forged", b"forged", 0)])
        await producer.close()
        await self.happens("bkdms_node_forged_blocks_total > 0 or bkdms_api_skipped_records_total > 0")

    async def outlast_retention(self) -> None:
        """Let Kafka drop packets that no validator has read."""
        names = ("validator-1", "validator-2", SLOW)
        await asyncio.gather(*map(self.stop, names))
        await self._send(*(secrets.token_bytes(64) for _ in range(200)))
        trimmer = KafkaTrimmer(self.connection(broker.ADMIN.role, broker.ADMIN.name))
        for partition in range(4):
            await trimmer.trim(
                self.topics.packets, partition, await self._end(self.topics.packets, partition)
            )
        await self._send(secrets.token_bytes(64))
        await asyncio.gather(*map(self.start, names))
        await self.happens("bkdms_consumer_expired_records_total > 0")

    async def send_again(self) -> None:
        """Wait until the site has sent again what Kafka dropped."""
        await self.happens("bkdms_site_resent_packets_total > 0")

    async def halt_the_api(self) -> None:
        """Cut the beginning off the blocks topic and let the API begin anew: it must halt."""
        await self.stop("api")
        shutil.rmtree(self.deployment.data_dir / "api")
        trimmer = KafkaTrimmer(self.connection(broker.ADMIN.role, broker.ADMIN.name))
        await trimmer.trim(self.topics.blocks, 0, 3)
        await asyncio.to_thread(self.deployment.stack.supervisor.restart, "api", is_awaited=False)
        await self.happens("sum_over_time(bkdms_api_view_halted[30s]) >= 3")

    async def _end(self, topic: str, partition: int) -> int:
        reader = KafkaPartitionReader(self.connection(Role.VALIDATOR, SLOW), topic, partition)
        try:
            return (await reader.bounds())[1]
        finally:
            await reader.close()
