"""The registrar's commands on a running chain: from a site's request to packets that are admitted."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.adapters.keystore import save_key
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.cli.root import app
from pipeline.apps.keys import key_files, key_vault
from pipeline.config import load_settings
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.keys import PublicKey, Use
from pipeline.core.names import SiteName, parse_site_id
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.sealing import Suite
from pipeline.core.state import START
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.services.access import read_answer
from pipeline.services.registrations import Registrations
from pipeline.services.registry_view import RegistryView
from tests.support.nodes import ChainRig, chain_rig, tls
from tests.support.world import TestSite, packet_value

pytestmark = pytest.mark.stack

NAME = SiteName("US", "unlocode:USMES", parse_site_id("fd00::1"))


LIMIT_S = 1.0
"""Within which validators must know of a record after its commit."""


@dataclass
class Watched:
    """A site as validators see it, beside the ledger as the blocks give it."""

    authority: "Authority"
    site: TestSite
    registrations: Registrations
    reader: KafkaPartitionReader
    view: RegistryView

    async def sequence(self) -> int:
        """Return the sequence of the site's last admitted packet."""
        return (await self.view.refresh()).tables.positions.get(NAME, START).sequence

    async def until_sequence(self, wanted: int) -> None:
        """Wait until a packet of the site is in a block."""

        async def is_there() -> bool:
            return await self.sequence() >= wanted

        await self.authority.rig.until(is_there)

    async def follows(self, expected: Outcome | None, *command: str, site: TestSite | None = None) -> None:
        """Run a command and see how long after the commit of its record validators judge the site's packets so."""
        sender = site or self.site
        packet = parse_packet(sender.packet(advance=False))
        assert isinstance(packet, Packet)
        height = (await self.view.refresh()).head.height
        running = asyncio.create_task(self.authority.run(*command))
        committed = followed = 0.0
        async with asyncio.timeout(60):
            while not (committed and followed):
                await self.registrations.refresh()
                verdict = self.registrations.directory.look_up(packet, SystemClock().now_ms())
                is_so = verdict is expected or (expected is None and isinstance(verdict, PublicKey))
                if is_so and not followed:
                    followed = time.monotonic()
                if not committed and (await self.view.refresh()).head.height > height:
                    committed = time.monotonic()
                await asyncio.sleep(0.01)
        await running
        assert followed - committed < LIMIT_S

    async def close(self) -> None:
        """Leave the broker."""
        await self.registrations.close()
        await self.reader.close()


@dataclass
class Authority:
    """A registrar's machine beside a running chain, and a site's."""

    rig: ChainRig
    folder: Path

    async def run(self, *arguments: str) -> None:
        """Run a bkdms command in a thread of its own; what it refuses is raised."""
        line = ["--config", str(self.folder / "bkdms.toml"), *arguments]
        await asyncio.wait_for(asyncio.to_thread(app, line, prog_name="bkdms", standalone_mode=False), 60)

    def site(self, answer_file: Path) -> TestSite:
        """Return the site with the key that it holds now, sealing to the key of an answer."""
        settings = load_settings(self.folder / "bkdms.toml")
        answer = read_answer(answer_file.read_bytes(), self.rig.world.genesis)
        offer = answer.offer_for(Suite.XWING)
        assert offer is not None
        platform_key = key_vault(settings).get(offer.key.fingerprint)
        assert platform_key is not None
        signer = key_files(settings, at_site=True).signer(
            self.folder / "data" / "site" / "key.json", Use.SITE
        )
        return TestSite(NAME, signer, Suite.XWING, self.rig.world.genesis.chain, platform_key)

    def transport(self) -> TlsFiles:
        """Return the transport certificate that came with the answer."""
        folder = self.folder / "data" / "site" / "tls"
        return TlsFiles(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")

    async def watch(self, site: TestSite) -> Watched:
        """Watch a site as a validator does."""
        genesis, topics = self.rig.world.genesis, self.rig.topics
        reader = KafkaPartitionReader(self.rig.connection("registrar", "observer"), topics.blocks)
        followed = KafkaPartitionReader(self.rig.connection("validator", "observer"), topics.sites)
        registrations = Registrations(genesis, followed)
        await registrations.load()
        return Watched(self, site, registrations, reader, RegistryView(genesis, reader))


@pytest.fixture
async def authority(stack: EmbeddedStack, topics: Topics, tmp_path: Path) -> AsyncIterator[Authority]:
    """A chain whose nodes run, and the registrar's settings."""
    async with chain_rig(stack, topics, tmp_path / "nodes") as rig:
        save_key(tmp_path / "registrar.json", rig.world.registrar)
        (tmp_path / "genesis.json").write_bytes(rig.world.genesis.raw)
        files = tls(stack.credentials("registrar", "desk"))
        (tmp_path / "bkdms.toml").write_text(f'''
data_dir = "data"
genesis = "genesis.json"
topic_prefix = "{topics.prefix}"
[kafka]
bootstrap = "{stack.kafka_bootstrap}"
ca = "{files.ca}"
certificate = "{files.certificate}"
key = "{files.key}"
[registrar]
key = "registrar.json"
[site]
country = "{NAME.country}"
city = "{NAME.city}"
site_id = "fd00::1"
''')
        for name in rig.world.node_signers:
            rig.start_node(name)
        yield Authority(rig, tmp_path)


@pytest.mark.faults
async def test_a_site_lives_its_whole_life_by_commands_alone(authority: Authority) -> None:
    """Bundle and token, request, approval by policy, suspension, new key, revocation; then the history is verified.

    On real Kafka, Redis and accounting nodes; the view is that of a validator.
    """
    rig, folder, pki = authority.rig, authority.folder, str(authority.rig.stack.data_dir / "pki")
    request, answer = folder / "r.json", folder / "a.json"
    policy = folder / "policy.toml"
    policy.write_text(
        f'cities = ["US/{NAME.city}"]\nindicators = ["LOCAL:TRAFFIC_SPEED"]\nsuites = ["xwing"]\n'
    )

    # Out of band: bundle and token. Then the request, and the answer by policy, with a transport certificate.
    bundle, token = folder / "b.json", folder / "t"
    given = ("-o", str(bundle), "--token-file", str(token), "--pki", pki)
    await authority.run("registrar", "bundle", str(NAME), *given)
    await authority.run(
        *("site", "request", "-o", str(request), "--bundle", str(bundle), "--token-file", str(token)),
        *("--indicator", "LOCAL:TRAFFIC_SPEED"),
    )
    approval = ("registrar", "approve", str(request), "--answer", str(answer), "--policy", str(policy))
    await authority.run(*approval, "--pki", pki)
    await authority.run("site", "accept", str(answer))
    with pytest.raises(ConfigError, match="answered before"):
        await authority.run(*approval)

    # The site's own certificate opens Kafka; its packets are admitted.
    site = authority.site(answer)
    connection = KafkaConnection(rig.stack.kafka_bootstrap, authority.transport(), "enrolled")
    producer = IdempotentProducer(connection)
    await producer.send([Outgoing(rig.topics.packets, packet_value(site.packet(advance=False)), b"k")])
    await rig.send([packet_value(site.packet(time_ms=SystemClock().now_ms()))])
    watched = await authority.watch(site)
    await watched.until_sequence(1)

    # Suspended and resumed: validators know within a second of the commit.
    await watched.follows(Outcome.SUSPENDED_SITE, "registrar", "suspend", str(NAME), "--reason", "repair")
    await watched.follows(None, "registrar", "resume", str(NAME), "--reason", "repaired")

    # Another key: the site's sequence goes on, and during the overlap the former key still counts.
    late = packet_value(site.packet(time_ms=SystemClock().now_ms()))
    rotate = folder / "rotate.json"
    await authority.run("site", "rotate", "-o", str(rotate))
    await authority.run("registrar", "transfer", str(rotate), "--answer", str(answer), "--overlap-hours", "1")
    await authority.run("site", "accept", str(answer))
    renewed = replace(authority.site(answer), sequence=site.sequence, previous=site.previous)
    assert renewed.signer.public != site.signer.public
    await rig.send([late, packet_value(renewed.packet(time_ms=SystemClock().now_ms()))])
    await watched.until_sequence(3)

    # The end: its connection ends with its certificate, and its key does not come back.
    end = ("registrar", "revoke", str(NAME), "--reason", "end of test", "--pki", pki)
    await watched.follows(Outcome.INACTIVE_SITE, *end, site=renewed)
    with pytest.raises((ConfigError, TransientError)):
        await producer.send([Outgoing(rig.topics.packets, packet_value(renewed.packet()), b"k")])
    with pytest.raises(ConfigError, match="revoked or replaced"):
        await authority.run("registrar", "approve", str(request))
    await producer.close()

    # Every block is verified again from the genesis file on, each packet with the key in force where it stands.
    await watched.reader.seek(0)
    history = await RegistryView(rig.world.genesis, watched.reader).refresh()
    assert history.tables.positions[NAME].sequence == 3
    assert not history.tables.sites[NAME].active
    await watched.close()
