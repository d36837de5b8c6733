"""A small deterministic chain for tests: keys, genesis, sites, control records, packets, certificates.

Everything comes from fixed seeds, so that bytes are the same in every run (sealing apart).
"""

from dataclasses import dataclass, field, replace
from hashlib import sha256

from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA, PACKET_SCHEMA
from pipeline.core.block import encode_certified
from pipeline.core.checkpoint import COSIGNATURE_TYPES, Checkpoint, assemble_certificate, cosign
from pipeline.core.contract import Contract
from pipeline.core.control import (
    BackfillGrant,
    Body,
    Enrol,
    KeyOffer,
    Reanchor,
    control_id,
    countersign,
    possession_message,
    sign_control,
)
from pipeline.core.derive import Derived
from pipeline.core.genesis import Genesis, encode_genesis, parse_genesis
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS, SiteName
from pipeline.core.packet import PacketDraft, packet_id, seal_packet
from pipeline.core.quorum import NodeKey, Policy
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from pipeline.core.sealing import PRIVATE_BYTES, SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer, MlDsa44Signer, P256Signer, Signer
from pipeline.core.state import START, ChainState

NOW_MS = 1_790_000_000_000
PERIOD_MS = 1000


def secret(label: str, size: int = 32) -> bytes:
    """Return fixed bytes for a label."""
    return b"".join(sha256(f"{label}/{i}".encode()).digest() for i in range(-(-size // 32)))[:size]


def site_name(number: int) -> SiteName:
    """Return the name of test site ``number``."""
    return SiteName("US", "unlocode:USMES", bytes.fromhex("fd000000") + number.to_bytes(12, "big"))


@dataclass
class TestSite:
    """A site with its keys and the end of its chain of packets."""

    __test__ = False
    name: SiteName
    signer: Signer
    suite: Suite
    chain: bytes
    platform_key: SealingKey
    sequence: int = 0
    previous: bytes = bytes(32)

    def packet(
        self,
        values: list[int] | None = None,
        *,
        time_ms: int = NOW_MS,
        records: list[bytes] | None = None,
        name: SiteName | None = None,
        advance: bool = True,
        sequence: int | None = None,
    ) -> bytes:
        """Return the next packet of the site, one record a value."""
        sequence = self.sequence + 1 if sequence is None else sequence
        if records is None:
            records = [self.record(value, time_ms) for value in values or [1]]
        draft = PacketDraft(
            self.chain, name or self.name, "module-1", sequence, self.previous, time_ms, time_ms, self.suite
        )
        raw = seal_packet(
            draft,
            records,
            [self.platform_key.public],
            self.signer,
            seed=secret(f"seed{self.name}{sequence}"),
            content_key=secret(f"content{self.name}{sequence}{len(records)}"),
        )
        if advance:
            self.sequence, self.previous = sequence, packet_id(raw)
        return raw

    def record(self, value: int, time_ms: int = NOW_MS, name: SiteName | None = None) -> bytes:
        """Return an encoded unified KPI record with one value."""
        extending = Extending("sensor-1", QualityCode.ACCURATE_MEASUREMENT, "test")
        kpi = KpiValue("LOCAL:TRAFFIC_SPEED", "", value, 2, "HM")
        return encode_record(UnifiedRecord(name or self.name, time_ms, (kpi,), extending))


@dataclass
class World:
    """A chain with its authorities; ``log`` collects framed values for the chain log."""

    nodes: int = 4
    quorum: int = 3
    contract: Contract = field(default_factory=lambda: Contract(period_ms=PERIOD_MS))
    topic: str = "kpi.chain.v1"
    mldsa44: bool = False

    def __post_init__(self) -> None:
        self.registrar = Ed25519Signer(secret("registrar"), Use.REGISTRAR)
        self.log_signer = Ed25519Signer(secret("log"), Use.LOG)
        self.roots = tuple(Ed25519Signer(secret(f"root{i}"), Use.ROOT) for i in range(3))
        self.node_signers = {
            f"node-{i}": Ed25519Signer(secret(f"node{i}"), Use.NODE) for i in range(self.nodes)
        }
        self.second_signers = {
            name: MlDsa44Signer(secret(f"{name}/mldsa44"), Use.NODE)
            for name in self.node_signers
            if self.mldsa44
        }
        policy = Policy(
            tuple(
                NodeKey(name, signer.public.raw, algorithm=COSIGNATURE_TYPES[signer.public.algorithm])
                for name in self.node_signers
                for signer in self.signers(name)
            ),
            self.quorum,
        )
        self.genesis: Genesis = parse_genesis(
            encode_genesis(
                url="https://bkdms.local/city1",
                topic=self.topic,
                partition=0,
                root_keys=tuple(root.public for root in self.roots),
                root_threshold=2,
                registrars=(self.registrar.public,),
                policy=policy,
                log_key=self.log_signer.public,
                contract=self.contract,
            )
        )
        self.sequence, self.previous = 0, bytes(32)

    def signers(self, name: str) -> tuple[Signer, ...]:
        """Return all keys of a node."""
        second = self.second_signers.get(name)
        return (self.node_signers[name],) if second is None else (self.node_signers[name], second)

    def state(self) -> ChainState:
        """Return the state at genesis."""
        return ChainState(self.genesis)

    def control(self, body: Body) -> bytes:
        """Return the registrar's next control record."""
        self.sequence += 1
        raw = sign_control(self.genesis.chain, self.registrar, self.sequence, self.previous, body)
        identifier = control_id(raw)
        assert identifier is not None
        self.previous = identifier
        return raw

    def reanchor(self, state: ChainState, *signers: Signer, **changes: object) -> bytes:
        """Return the record by which root keys (two by default) let the chain go on in another log after the head."""
        head = state.head
        body = replace(Reanchor(head.incarnation + 1, head.height, head.block_hash), **changes)  # type: ignore[arg-type]
        return self.by_roots(state, body, *signers)

    def by_roots(self, state: ChainState, body: Body, *signers: Signer) -> bytes:
        """Return the next control record of root keys (two by default)."""
        first, *others = signers or self.roots[:2]
        last = state.tables.issuers.get(first.public.fingerprint, START)
        raw = sign_control(self.genesis.chain, first, last.sequence + 1, last.last_id, body)
        for signer in others:
            raw = countersign(raw, signer)
        return raw

    def site(self, number: int, suite: Suite = Suite.LIGHT) -> TestSite:
        """Return test site ``number``, not yet enrolled."""
        label = f"site{number}"
        signer: Signer = (
            P256Signer(secret(label), Use.SITE)
            if suite is Suite.P256
            else Ed25519Signer(secret(label), Use.SITE)
        )
        algorithm = SEALING_ALGORITHM[suite]
        key = SealingKey(algorithm, secret(f"platform{number}{suite}", PRIVATE_BYTES[algorithm]))
        return TestSite(site_name(number), signer, suite, self.genesis.chain, key)

    def enrolment(self, site: TestSite) -> list[bytes]:
        """Return the control records that let a site in: enrolment and key offer."""
        public = site.signer.public
        possession = site.signer.sign(possession_message(self.genesis.chain, site.name, public.fingerprint))
        enrol = Enrol(
            site.name, public.algorithm, public.raw, possession, (site.suite,), ("LOCAL:TRAFFIC_SPEED",)
        )
        offered = site.platform_key.public
        offer = KeyOffer(site.name, 1, offered.algorithm, offered.raw, MAX_TIME_MS)
        return [self.control(enrol), self.control(offer)]

    def backfill(self, site: TestSite, first: int, last: int) -> bytes:
        """Return a backfill grant for a site."""
        return self.control(BackfillGrant(site.name, first, last, MAX_TIME_MS))

    def certificate(self, checkpoint: Checkpoint, names: list[str] | None = None) -> bytes:
        """Return a certificate with the cosignatures of the named nodes (of a quorum by default)."""
        chosen = names if names is not None else list(self.node_signers)[: self.quorum]
        signatures = [cosign(checkpoint, n, s, NOW_MS // 1000) for n in chosen for s in self.signers(n)]
        return assemble_certificate(checkpoint, signatures)

    def certified(self, derived: Derived, names: list[str] | None = None) -> bytes:
        """Return a derived block as published."""
        return encode_certified(derived.block, self.certificate(derived.checkpoint, names))


def packet_value(raw: bytes) -> bytes:
    """Frame a packet for Kafka."""
    return avro.frame(PACKET_SCHEMA, raw)


def control_value(raw: bytes) -> bytes:
    """Frame a control record for Kafka."""
    return avro.frame(CONTROL_SCHEMA, raw)
