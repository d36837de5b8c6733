"""A site follows changes of registrars, nodes and contract by root keys, and none that somebody holds back again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.agreement import Hold
from pipeline.core.contract import SuiteTerm
from pipeline.core.control import KeyOffer, NewContract, Nodes, Registrars, sign_control
from pipeline.core.entitlement import Placed
from pipeline.core.keys import Use
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.quorum import NodeKey, Policy
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.sealing import PRIVATE_BYTES, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.site_head import ReceiptProblem, ReceiptReason, SiteHeadDocument, parse_site_head
from pipeline.services.site_agent import SiteAgent
from tests.support.site_bench import FAST, PACE, Bench, running, until
from tests.support.world import NOW_MS, control_value, secret

QUICK = replace(PACE, registry_poll_s=0.02)
SECOND = Ed25519Signer(secret("second registrar"), Use.REGISTRAR)
FIFTH = Ed25519Signer(secret("node-5"), Use.NODE)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, [1])
    yield made
    made.spool.close()


def replace_registrar(bench: Bench) -> None:
    """Put another registrar in the first one's place, and let it offer a key of epoch 2."""
    bench.ledger.by_roots(Registrars((SECOND.public,)))
    key = SealingKey(
        bench.site.platform_key.algorithm, secret("new", PRIVATE_BYTES[bench.site.platform_key.algorithm])
    )
    bench.ledger.keys.append(key)
    offer = KeyOffer(bench.site.name, 2, key.algorithm, key.public.raw, MAX_TIME_MS)
    raw = sign_control(bench.site.chain, SECOND, 1, bytes(32), offer)
    bench.ledger.chain.block(control_value(raw))


def replace_node(bench: Bench) -> None:
    """Put node-5 in the place of node-0."""
    world = bench.ledger.chain.world
    kept = [node for node in world.genesis.policy.nodes if node.name != "node-0"]
    bench.ledger.by_roots(Nodes(Policy((*kept, NodeKey("node-5", FIFTH.public.raw)), 3)))
    world.node_signers["node-5"] = FIFTH


def head(bench: Bench, *names: str) -> SiteHeadDocument:
    """Return the head with a certificate of the named nodes."""
    ledger = bench.ledger
    document = parse_site_head(ledger.document(bench.site.name, len(ledger.chain.blocks)))
    assert isinstance(document, SiteHeadDocument)
    if names:
        checkpoint = ledger.chain.blocks[-1].checkpoint
        return replace(document, certificate=ledger.chain.world.certificate(checkpoint, list(names)))
    return document


def verdict(bench: Bench, document: SiteHeadDocument, known: tuple[Placed, ...] = ()) -> ReceiptReason | None:
    found = verify_head(bench.ledger.chain.world.genesis, None, document, known)
    return found.reason if isinstance(found, ReceiptProblem) else None


async def test_an_offer_of_the_registrar_that_root_keys_put_in_is_taken_up(bench: Bench) -> None:
    async with running(SiteAgent(bench.parts(), FAST, QUICK)):
        await until(lambda: bench.committed == [1])
        replace_registrar(bench)
        await until(lambda: bench.log.events.count("platform_key_taken_up") == 2)
        bench.source.numbers.append(2)
        await until(lambda: bench.committed == [1, 2])
    bench.reopen()
    again = bench.parts()
    again.standing.load()
    assert [type(placed.control.body) for placed in again.standing.authorities] == [Registrars]
    assert again.standing.entitlement.offers[-1].epoch == 2


def test_without_the_record_of_the_root_keys_the_new_registrar_is_nobody(bench: Bench) -> None:
    replace_registrar(bench)
    document = head(bench)
    assert verdict(bench, document) is None
    assert verdict(bench, replace(document, authorities=())) is ReceiptReason.KEY_OFFER


def test_a_record_that_too_few_root_keys_signed_changes_nobody(bench: Bench) -> None:
    replace_registrar(bench)
    document, world = head(bench), bench.ledger.chain.world
    raw = sign_control(bench.site.chain, world.roots[0], 1, bytes(32), Registrars((SECOND.public,)))
    alone = replace(document.authorities[0], payload=raw)
    assert verdict(bench, replace(document, authorities=(alone,))) is ReceiptReason.AUTHORITY


def test_a_record_of_root_keys_that_is_not_in_the_tree_proves_nothing(bench: Bench) -> None:
    replace_registrar(bench)
    document = head(bench)
    moved = replace(document.authorities[0], leaf_index=document.authorities[0].leaf_index + 1)
    assert verdict(bench, replace(document, authorities=(moved,))) is ReceiptReason.AUTHORITY


def test_the_block_that_replaces_a_node_is_certified_by_the_nodes_before_it_and_the_next_by_those_after(
    bench: Bench,
) -> None:
    replace_node(bench)
    assert verdict(bench, head(bench, "node-0", "node-1", "node-2")) is None
    assert verdict(bench, head(bench, "node-1", "node-2", "node-5")) is ReceiptReason.CERTIFICATE
    bench.ledger.chain.packets(bench.site.packet([7]))
    document = replace(head(bench, "node-1", "node-2", "node-5"))
    assert verdict(bench, head(bench, "node-0", "node-1", "node-2")) is ReceiptReason.CERTIFICATE
    assert document.sequence == 1
    assert verdict(bench, document) is ReceiptReason.NO_PACKET


def test_a_change_that_was_verified_before_cannot_be_held_back_again(bench: Bench) -> None:
    replace_node(bench)
    before = verify_head(bench.ledger.chain.world.genesis, None, head(bench))
    assert isinstance(before, Receipt)
    bench.ledger.chain.packets(bench.site.packet([7]))
    held_back = replace(head(bench, "node-0", "node-1", "node-2"), authorities=())
    assert verdict(bench, held_back) is ReceiptReason.NO_PACKET
    assert verdict(bench, held_back, before.authorities) is ReceiptReason.CERTIFICATE


async def test_a_suite_that_a_new_contract_ends_is_not_used_on(bench: Bench) -> None:
    contract = bench.ledger.chain.world.genesis.contract
    ended = replace(contract, version=contract.version + 1, suites=(SuiteTerm(Suite.LIGHT, NOW_MS - 1),))
    async with running(SiteAgent(bench.parts(), FAST, QUICK)):
        await until(lambda: bench.committed == [1])
        bench.ledger.by_roots(NewContract(ended))
        await until(lambda: "sealing_waits" in bench.log.events)
        bench.source.numbers.append(2)
        await until(lambda: bench.spool.totals().spooled_records == 2)
    parts = bench.parts()
    parts.standing.load()
    assert parts.standing.agree(NOW_MS) is Hold.SUITE_EXPIRED
    assert bench.committed == [1]
