"""An audit holds every block against what was in force at its height, and names what authorities decided."""

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from pipeline.core.block import encode_certified
from pipeline.core.contract import Contract
from pipeline.core.control import NewContract, Nodes, Registrars, RootBody
from pipeline.core.keys import Use
from pipeline.core.quorum import NodeKey, Policy
from pipeline.core.signing import Ed25519Signer
from pipeline.services.audit import Auditor, audit
from pipeline.services.audit_report import AuditReport, Source
from pipeline.services.survey_pool import SurveyPool
from tests.support.chain import Chain
from tests.support.world import PERIOD_MS, World, control_value, packet_value, secret

LATER = Ed25519Signer(secret("later registrar"), Use.REGISTRAR)
NEW_NODE = Ed25519Signer(secret("new key of node-3"), Use.NODE)


def decide(chain: Chain, body: RootBody) -> None:
    for value in (control_value(chain.world.by_roots(chain.deriver.state, body)),):
        chain.add(value)
    if chain.deriver.open_entries:
        chain.close()


def build() -> tuple[Chain, list[bytes], list[bytes]]:
    """Return a chain, its certified blocks, and the same as nodes of the genesis file would certify them all."""
    chain = Chain()
    world, site = chain.world, chain.world.site(1)
    chain.enrol(site)
    decide(chain, Registrars((LATER.public, world.registrar.public)))
    policy = Policy((*world.genesis.policy.nodes[:3], NodeKey("node-3", NEW_NODE.public.raw)), 3)
    decide(chain, Nodes(policy))
    chain.block(packet_value(site.packet([1])))
    decide(chain, NewContract(Contract(version=2, period_ms=PERIOD_MS, max_age_ms=60_000)))
    chain.block(packet_value(site.packet([2])))
    by_lost_key = [world.certified(derived, ["node-1", "node-2", "node-3"]) for derived in chain.blocks]
    renewed = World()
    renewed.node_signers["node-3"] = NEW_NODE
    certified = [
        encode_certified(
            derived.block,
            (renewed if number >= 3 else world).certificate(
                derived.checkpoint, ["node-1", "node-2", "node-3"]
            ),
        )
        for number, derived in enumerate(chain.blocks)
    ]
    return chain, certified, by_lost_key


CHAIN, CERTIFIED, BY_LOST_KEY = build()


@pytest.fixture(scope="module", params=["alone", "helped"])
def pool(request: pytest.FixtureRequest) -> Iterator[SurveyPool | None]:
    """Every test runs without helpers and with two: the results are the same."""
    if request.param == "alone":
        yield None
        return
    helpers = SurveyPool(CHAIN.world.genesis, 2)
    yield helpers
    helpers.close()


async def audited(pool: SurveyPool | None, blocks: Sequence[bytes]) -> AuditReport:
    async def windows() -> AsyncIterator[Sequence[Source]]:
        yield [Source(f"{height:08d}.block", data, height) for height, data in enumerate(blocks, 1)]

    return await audit(Auditor(CHAIN.world.genesis, strict=True, pool=pool), windows(), lambda _count: None)


async def test_decisions_are_named_with_their_heights(pool: SurveyPool | None) -> None:
    report = await audited(pool, CERTIFIED)
    assert (report.is_good, report.height) == (True, 6), report.finding
    assert [height for height, _ in report.decisions] == [2, 3, 5]
    registrars, nodes, contract = (what for _, what in report.decisions)
    assert registrars.startswith("registrars: ")
    assert LATER.public.fingerprint.hex()[:16] in registrars
    assert nodes == "nodes: node-0, node-1, node-2, node-3; 3 must agree"
    assert contract.startswith("contract version 2, hash ")
    assert report.as_json()["decisions"][0] == {"height": 2, "what": registrars}


async def test_a_certificate_with_a_key_that_was_replaced_is_refused_from_there_on(
    pool: SurveyPool | None,
) -> None:
    report = await audited(pool, BY_LOST_KEY)
    assert report.finding is not None
    assert (report.finding.height, report.finding.reason) == (4, "certificate")


async def test_the_new_key_counts_for_no_block_before_its_record(pool: SurveyPool | None) -> None:
    early = World()
    early.node_signers["node-3"] = NEW_NODE
    names = ["node-1", "node-2", "node-3"]
    wrong = encode_certified(CHAIN.blocks[2].block, early.certificate(CHAIN.blocks[2].checkpoint, names))
    report = await audited(pool, [*CERTIFIED[:2], wrong, *CERTIFIED[3:]])
    assert report.finding is not None
    assert (report.finding.height, report.finding.reason) == (3, "certificate")
