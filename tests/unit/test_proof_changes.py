"""Proofs of packets whose site was let in, amended or judged by what root keys and registrars changed on the way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters.tile_files import TileFiles
from pipeline.core.contract import Contract
from pipeline.core.control import (
    Amend,
    BackfillGrant,
    Enrol,
    KeyOffer,
    NewContract,
    Registrars,
    possession_message,
    sign_control,
)
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.policy_file import policy_text
from pipeline.core.proof import Proof, verify_proof
from pipeline.core.signing import Ed25519Signer, Signer
from pipeline.core.state import START
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from pipeline.core.tracing import TracingCode
from pipeline.services.follower import follow_to_end
from pipeline.services.tile_prover import MadeProof, open_prover
from tests.support.chain import Chain, MemoryTopic
from tests.support.tiles import exporter
from tests.support.world import NOW_MS, PERIOD_MS, TestSite, control_value, secret
from tests.unit.test_proof_vectors import CHECK

LATER = Ed25519Signer(secret("later registrar"), Use.REGISTRAR)
OLD_MS = NOW_MS - 60 * 86_400_000
Body = Enrol | Amend | KeyOffer | BackfillGrant


class Changed:
    """A chain whose sites live through changes; ``packets`` are the places of their packets."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.world = self.chain.world
        self.site = self.world.site(1)
        self.packets: list[tuple[int, bytes]] = []

    def add(self, *raws: bytes) -> None:
        """Put control records into a block of their own, all admitted."""
        before = len(self.chain.blocks)
        self.chain.block(*map(control_value, raws))
        assert sum(len(block.block.entries) for block in self.chain.blocks[before:]) == len(raws)

    def by_later(self, *bodies: Body) -> None:
        """Let the later registrar issue records."""
        for body in bodies:
            last = self.chain.deriver.state.tables.issuers.get(LATER.public.fingerprint, START)
            raw = sign_control(self.world.genesis.chain, LATER, last.sequence + 1, last.last_id, body)
            self.add(raw)

    def by_roots(self, body: Registrars | NewContract) -> None:
        """Let root keys decide."""
        self.add(self.world.by_roots(self.chain.deriver.state, body))

    def packet(self, signer: Signer | None = None, time_ms: int = NOW_MS) -> None:
        """Let the site send a packet, signed as told."""
        self.site.signer = signer or self.site.signer
        raw = self.site.packet([1, 2], time_ms=time_ms)
        self.chain.packets(raw)
        assert self.chain.blocks[-1].block.entries[-1].payload == raw
        self.packets.append((self.chain.blocks[-1].block.header.height, raw))

    def amend(self, signer: Signer, until_ms: int = 0) -> Amend:
        """Return an amendment that gives the site this key."""
        site, public = self.chain.deriver.state.tables.sites[self.site.name], signer.public
        claim = possession_message(self.world.genesis.chain, self.site.name, public.fingerprint)
        return Amend(
            self.site.name,
            site.key.fingerprint,
            until_ms,
            public.algorithm,
            public.raw,
            signer.sign(claim),
            site.suites,
            site.indicators,
            site.equipment,
        )


def site_key(number: int) -> Ed25519Signer:
    return Ed25519Signer(secret(f"site key {number}"), Use.SITE)


def enrol(site: TestSite) -> tuple[Enrol, KeyOffer]:
    public, offered = site.signer.public, site.platform_key.public
    possession = site.signer.sign(possession_message(site.chain, site.name, public.fingerprint))
    enrolment = Enrol(
        site.name, public.algorithm, public.raw, possession, (site.suite,), ("LOCAL:TRAFFIC_SPEED",)
    )
    return enrolment, KeyOffer(site.name, 1, offered.algorithm, offered.raw, MAX_TIME_MS)


def life() -> Changed:
    """Return a chain in which everything changes that a proof has to show."""
    made = Changed()
    made.chain.enrol(made.site)
    made.packet()
    first = made.site.signer
    until = NOW_MS + 100 * PERIOD_MS
    made.add(made.world.control(made.amend(first)))
    made.add(made.world.control(made.amend(site_key(1), until)))
    made.packet(site_key(1))
    made.packet(first)
    made.by_roots(Registrars((LATER.public,)))
    made.by_later(made.amend(site_key(1)))
    made.packet(first)
    made.by_later(made.amend(site_key(2)))
    made.packet(site_key(2))
    made.by_roots(NewContract(Contract(version=2, period_ms=PERIOD_MS, max_age_ms=90 * 86_400_000)))
    made.packet(time_ms=OLD_MS)
    made.by_roots(NewContract(Contract(version=3, period_ms=PERIOD_MS, max_age_ms=86_400_000)))
    made.by_later(BackfillGrant(made.site.name, OLD_MS, OLD_MS, MAX_TIME_MS))
    made.packet(time_ms=OLD_MS)
    made.site = made.world.site(2)
    made.by_later(*enrol(made.site))
    made.by_roots(Registrars((LATER.public, made.world.registrar.public)))
    made.packet()
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Changed, Path]]:
    """The chain, and the folder with its tiles."""
    made, folder = life(), tmp_path_factory.mktemp("changed")
    topic = MemoryTopic()
    topic.publish(made.chain.certified)
    worker = exporter(folder, made.world, topic)

    async def export() -> None:
        await follow_to_end(worker.follower)
        await worker.close()

    asyncio.run(export())
    yield made, folder


def test_every_packet_has_a_proof_that_both_checkers_accept(exported: tuple[Changed, Path]) -> None:
    made, folder = exported
    text = policy_text(made.world.genesis).encode()
    policy = parse_policy(text)
    assert isinstance(policy, TlogPolicy)
    prover = open_prover(made.world.genesis, policy, TileFiles(folder).read)
    assert len(made.packets) == 8
    for height, raw in made.packets:
        found = prover.prove(TracingCode(made.world.genesis.chain[:5], height, 0))  # type: ignore[union-attr]
        assert isinstance(found, MadeProof), (height, found)
        proof = verify_proof(policy, found.data)
        assert isinstance(proof, Proof)
        assert proof.packet.raw == raw
        assert CHECK(text, found.data)


def test_a_proof_carries_no_more_than_it_needs(exported: tuple[Changed, Path]) -> None:
    """Neither changes of registrars that show nobody, nor amendments that another one replaced."""
    made, folder = exported
    policy = parse_policy(policy_text(made.world.genesis).encode())
    assert isinstance(policy, TlogPolicy)
    prover = open_prover(made.world.genesis, policy, TileFiles(folder).read)
    counts = []
    for height, _ in made.packets:
        evidence = prover._evidence(TracingCode(made.world.genesis.chain[:5], height, 0), None)  # type: ignore[union-attr]
        counts.append((len(evidence.registrars), len(evidence.amendments), evidence.contract is not None))  # type: ignore[union-attr]
    assert counts == [
        (0, 0, False),
        (0, 1, False),
        (0, 1, False),
        (1, 2, False),
        (1, 2, False),
        (1, 2, True),
        (1, 2, True),
        (1, 0, True),
    ]
