"""Hostile clients: packets that must not get through, sent with valid transport certificates, and one without.

Each attempt says what it tries and how the refusal shows; ``seen`` fills in what was observed.
"""

import asyncio
import secrets
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ops.tls.principal import Role
from pipeline.adapters.kafka import IdempotentProducer, KafkaConnection, KafkaPartitionReader
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.demo.scene import Actor, Scene
from pipeline.apps.local.deployment import LocalDeployment
from pipeline.core import avro
from pipeline.core.admission import PACKET_SCHEMA
from pipeline.core.block import Kind, certified_body, parse_certified
from pipeline.core.keys import PublicKey, Use
from pipeline.core.names import SiteName
from pipeline.core.packet import Packet, PacketDraft, parse_packet, seal_packet
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from pipeline.core.sealing import PRIVATE_BYTES, SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import SIGNATURE_BYTES, Ed25519Signer, Signer
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.services.access import read_answer
from schemas import schema

_REJECTION = schema("Rejection")
_STRANGER = SiteName("US", "unlocode:USMES", bytes.fromhex("fd62000000000000000000000000f00d"))
_OTHER_CITY = "unlocode:USSEA"
_FETCH = 500
_WAIT_MS = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One hostile packet: what is tried, the reason expected, and its bytes; ``seen`` is what happened."""

    name: str
    expected: str
    raw: bytes = b""
    seen: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether it was refused as it had to be."""
        return self.seen == self.expected


class HostileClients:
    """Sends the attempts and finds out what became of them."""

    def __init__(self, deployment: LocalDeployment, scene: Scene, now_ms: int) -> None:
        self._deployment = deployment
        self._scene = scene
        self._now_ms = now_ms
        self._topics = Topics(deployment.plan.chain.topic_prefix)
        self.attempts: list[Attempt] = []

    async def attack(self) -> None:
        """Make all attempts; the replayed packet is taken from the blocks, as anybody with access could."""
        self.attempts = [
            Attempt("unknown site", "unknown_site", self._unknown_site()),
            Attempt("forged signature", "bad_signature", self._forged_signature()),
            Attempt("replay of an old packet", "stale", await self._old_packet()),
            Attempt("packet for another city", "unknown_site", self._other_city()),
            Attempt("revoked site", "inactive_site", self._revoked_site()),
            Attempt("inner records of another site", "mismatch", self._inner_records()),
        ]
        producer = IdempotentProducer(self._connection("hostile"))
        values = [avro.frame(PACKET_SCHEMA, attempt.raw) for attempt in self.attempts]
        key = self._scene.insider.name.site_id
        await producer.send([Outgoing(self._topics.packets, value, key) for value in values])
        await producer.close()
        refused = await self._without_certificate()
        self.attempts.append(Attempt("no certificate", "connection_refused", seen=refused))

    async def look(self, mismatched: Mapping[bytes, str]) -> None:
        """Fill in what was seen: in the topic of dead letters, or in the platform's store by packet."""
        letters = await self.dead_letters()
        by_value = {letter["value"]: letter["reason"] for letter in letters}
        self.attempts = [self._observed(attempt, by_value, mismatched) for attempt in self.attempts]

    def _observed(
        self, attempt: Attempt, by_value: Mapping[bytes, str], mismatched: Mapping[bytes, str]
    ) -> Attempt:
        if not attempt.raw:
            return attempt
        seen = by_value.get(avro.frame(PACKET_SCHEMA, attempt.raw)) or mismatched.get(attempt.raw, "")
        return replace(attempt, seen=seen)

    async def dead_letters(self) -> list[dict[str, Any]]:
        """Return every dead letter once: republished ones count by their place in the source topic."""
        reader = KafkaPartitionReader(
            self._deployment_connection(Role.AUDITOR, "demo"), self._topics.rejected, 0
        )
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        try:
            first, end = await reader.bounds()
            await reader.seek(first)
            while first < end:
                for record in await reader.fetch(_FETCH, _WAIT_MS):
                    first = record.offset + 1
                    letter = avro.unframe(_REJECTION, record.value or b"")
                    if letter is not None:
                        found[letter["topic"], letter["partition"], letter["offset"]] = letter
        finally:
            await reader.close()
        return list(found.values())

    def _deployment_connection(self, role: Role, name: str) -> KafkaConnection:
        files = self._deployment.stack.credentials(role, name)
        tls = TlsFiles(files.ca, files.certificate, files.key)
        return KafkaConnection(self._deployment.stack.kafka_bootstrap, tls, name)

    def _connection(self, name: str) -> KafkaConnection:
        return self._deployment_connection(Role.SITE, name)

    def _seal(
        self,
        signer: Signer,
        name: SiteName,
        reader: PublicKey,
        *,
        inner: SiteName | None = None,
        suite: Suite = Suite.LIGHT,
    ) -> bytes:
        value = KpiValue("LOCAL:TRAVEL_TIME", "", 1, 0, "SEC")
        extending = Extending("hostile", QualityCode.NOT_TRACEABLE, "demonstration")
        record = encode_record(UnifiedRecord(inner or name, self._now_ms, (value,), extending))
        draft = PacketDraft(
            self._scene.genesis.chain, name, "hostile", 1, bytes(32), self._now_ms, self._now_ms, suite
        )
        return seal_packet(
            draft,
            [record],
            [reader],
            signer,
            seed=secrets.token_bytes(32),
            content_key=secrets.token_bytes(32),
        )

    def _unknown_site(self) -> bytes:
        signer = Ed25519Signer(secrets.token_bytes(32), Use.SITE)
        return self._seal(signer, _STRANGER, _any_key())

    def _forged_signature(self) -> bytes:
        victim = self._scene.insider
        raw = self._seal(victim.signer, victim.name, self._offered(victim))
        return raw[:-SIGNATURE_BYTES] + Ed25519Signer(secrets.token_bytes(32), Use.SITE).sign(raw)

    async def _old_packet(self) -> bytes:
        """Return the first packet of a site that has sent more since."""
        reader = KafkaPartitionReader(
            self._deployment_connection(Role.AUDITOR, "demo"), self._topics.blocks, 0
        )
        try:
            first: dict[SiteName, Packet] = {}
            await reader.seek(0)
            while True:
                for record in await reader.fetch(_FETCH, _WAIT_MS):
                    for packet in _packets(certified_body(record.value)):
                        earlier = first.setdefault(packet.site, packet)
                        if earlier.packet_id != packet.packet_id:
                            return earlier.raw
        finally:
            await reader.close()

    def _other_city(self) -> bytes:
        insider = self._scene.insider
        elsewhere = insider.name._replace(city=_OTHER_CITY)
        return self._seal(insider.signer, elsewhere, self._offered(insider))

    def _revoked_site(self) -> bytes:
        return self._seal(self._scene.revoked.signer, self._scene.revoked.name, _any_key())

    def _inner_records(self) -> bytes:
        insider, victim = self._scene.insider, self._scene.sites[0]
        return self._seal(insider.signer, insider.name, self._offered(insider), inner=victim.name)

    def _offered(self, actor: Actor) -> PublicKey:
        answer = read_answer((actor.folder / "access.json").read_bytes(), self._scene.genesis)
        offer = answer.offer_for(actor.suite)
        return offer.key if offer is not None else _any_key()

    async def _without_certificate(self) -> str:
        """Knock at Kafka's listener without a client certificate."""
        host, port = self._deployment.stack.kafka_bootstrap.split(":")
        files = self._deployment.stack.credentials(Role.SITE, "hostile")
        context = ssl.create_default_context(cafile=str(files.ca))
        try:
            reader, writer = await asyncio.open_connection(
                host, int(port), ssl=context, server_hostname="localhost"
            )
            # In TLS 1.3 the server's refusal arrives with the first read.
            writer.write(b"\x00\x00\x00\x00")
            answer = await asyncio.wait_for(reader.read(1), _WAIT_MS / 100)
            writer.close()
        except (OSError, ssl.SSLError):
            return "connection_refused"
        return "connected" if answer else "connection_refused"


def _any_key() -> PublicKey:
    algorithm = SEALING_ALGORITHM[Suite.LIGHT]
    return SealingKey(algorithm, secrets.token_bytes(PRIVATE_BYTES[algorithm])).public


def _packets(body: bytes) -> Iterator[Packet]:
    parsed = parse_certified(body)
    for entry in parsed[0].entries if parsed is not None else ():
        packet = parse_packet(entry.payload) if entry.kind is Kind.PACKET else None
        if isinstance(packet, Packet):
            yield packet
