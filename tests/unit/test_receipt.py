"""A site believes its head only when packet, paths, header, certificate and offers all fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.block import Kind
from pipeline.core.control import KeyOffer
from pipeline.core.keys import Algorithm
from pipeline.core.merkle import leaf_hash
from pipeline.core.names import MAX_TIME_MS
from pipeline.core.packet import FIRST_PREVIOUS, Packet
from pipeline.core.proven import Proven
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.replica import parse_entry
from pipeline.core.signing import Ed25519Signer
from pipeline.core.site_head import ReceiptProblem, ReceiptReason, SiteHeadDocument, parse_site_head
from tests.support.chain import Chain
from tests.support.tree import MemoryTree
from tests.support.world import TestSite, World, secret


class Case:
    """A chain of an enrolment, two packets of the site and one of another site, and the head documents."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.site: TestSite = self.chain.world.site(1)
        other = self.chain.world.site(2)
        self.chain.enrol(self.site, other)
        self.first = self.site.packet([1])
        self.last = self.site.packet([2])
        self.chain.packets(self.first, other.packet([3]), self.last)
        self.chain.packets(other.packet([4]))
        self.tree = MemoryTree([leaf for derived in self.chain.blocks for leaf in derived.block.leaf_hashes])
        self.genesis = self.chain.world.genesis

    def proven(self, height: int, entry: int, *, payload: bool) -> Proven:
        block = self.chain.blocks[height - 1].block
        found = block.entries[entry]
        index = block.header.first_index + entry
        assert self.tree.leaves[index] == leaf_hash(found.leaf)
        path = tuple(self.tree.inclusion(index))
        return Proven(
            found.kind, found.payload if payload else None, index, found.offset, found.time_ms, path
        )

    def document(self, height: int = 2, entry: int = 2) -> SiteHeadDocument:
        derived = self.chain.blocks[height - 1]
        block = derived.block
        packet = parse_entry(block.entries[entry])
        is_packet = isinstance(packet, Packet)
        return SiteHeadDocument(
            chain=self.genesis.chain,
            site=self.site.name,
            active=True,
            sequence=packet.sequence if isinstance(packet, Packet) else 0,
            packet_id=packet.packet_id if isinstance(packet, Packet) else FIRST_PREVIOUS,
            height=height,
            entry=entry,
            head=self.proven(height, entry, payload=not is_packet),
            header=block.header_bytes,
            header_path=tuple(self.tree.inclusion(block.header.first_index + len(block.entries))),
            key_offers=(self.proven(1, 1, payload=True),),
            tree_size=len(self.tree.leaves),
            certificate=self.chain.world.certificate(self.chain.blocks[-1].checkpoint),
        )


CASE = Case()


def reason(result: Receipt | ReceiptProblem) -> ReceiptReason | None:
    return result.reason if isinstance(result, ReceiptProblem) else None


def test_the_last_packet_is_proven_by_its_own_bytes() -> None:
    receipt = verify_head(CASE.genesis, CASE.last, CASE.document())
    assert isinstance(receipt, Receipt)
    assert (receipt.site, receipt.sequence) == (CASE.site.name, 2)
    assert receipt.tracing_code[1:] == (2, 2)
    assert [offer.epoch for offer in receipt.key_offers] == [1]


def test_an_enrolled_site_without_packets_gets_its_enrolment_proven() -> None:
    receipt = verify_head(CASE.genesis, None, CASE.document(1, 0))
    assert isinstance(receipt, Receipt)
    assert receipt.sequence == 0
    assert receipt.site_key == CASE.site.signer.public


def test_a_site_that_lost_its_packets_may_rely_on_the_payload_in_the_document() -> None:
    document = CASE.document()
    head = replace(document.head, payload=CASE.last)
    assert isinstance(verify_head(CASE.genesis, None, replace(document, head=head)), Receipt)


def test_the_document_survives_json() -> None:
    for document in (CASE.document(), CASE.document(1, 0)):
        assert parse_site_head(json.dumps(document.as_json()).encode()) == document


def forged_offer() -> Proven:
    registrar = Ed25519Signer(secret("impostor"), CASE.chain.world.registrar.use)
    world = World()
    world.registrar = registrar
    offer = KeyOffer(CASE.site.name, 9, Algorithm.X25519, secret("evil"), MAX_TIME_MS)
    return replace(CASE.proven(1, 1, payload=True), payload=world.control(offer))


Change = Callable[[SiteHeadDocument], SiteHeadDocument]
FORGERIES: dict[str, tuple[Change, ReceiptReason]] = {
    "another chain": (lambda d: replace(d, chain=bytes(32)), ReceiptReason.WRONG_CHAIN),
    "too few cosignatures": (
        lambda d: replace(
            d, certificate=CASE.chain.world.certificate(CASE.chain.blocks[-1].checkpoint, ["node-0"])
        ),
        ReceiptReason.CERTIFICATE,
    ),
    "older tree under the same paths": (
        lambda d: replace(d, certificate=CASE.chain.world.certificate(CASE.chain.blocks[1].checkpoint)),
        ReceiptReason.CERTIFICATE,
    ),
    "size of another tree": (lambda d: replace(d, tree_size=d.tree_size - 1), ReceiptReason.CERTIFICATE),
    "higher sequence": (lambda d: replace(d, sequence=3), ReceiptReason.OTHER_PACKET),
    "other packet": (lambda d: replace(d, packet_id=bytes(32)), ReceiptReason.OTHER_PACKET),
    "other site": (
        lambda d: replace(d, site=CASE.chain.world.site(2).name),
        ReceiptReason.OTHER_SITE,
    ),
    "other kind": (lambda d: replace(d, head=replace(d.head, kind=Kind.CONTROL)), ReceiptReason.MALFORMED),
    "other time": (
        lambda d: replace(d, head=replace(d.head, time_ms=d.head.time_ms + 1)),
        ReceiptReason.NOT_INCLUDED,
    ),
    "other index": (
        lambda d: replace(d, head=replace(d.head, leaf_index=d.head.leaf_index - 1)),
        ReceiptReason.NOT_INCLUDED,
    ),
    "other entry": (lambda d: replace(d, entry=1), ReceiptReason.HEADER),
    "other height": (lambda d: replace(d, height=1), ReceiptReason.HEADER),
    "header of another block": (
        lambda d: replace(d, header=CASE.chain.blocks[0].block.header_bytes),
        ReceiptReason.HEADER,
    ),
    "offer of an impostor": (lambda d: replace(d, key_offers=(forged_offer(),)), ReceiptReason.KEY_OFFER),
    "genuine offer that is not in the tree": (
        lambda d: replace(d, key_offers=(replace(d.key_offers[0], log_offset=99),)),
        ReceiptReason.KEY_OFFER,
    ),
    "genuine enrolment, as a change of rights, that is not in the tree": (
        lambda d: replace(d, records=(replace(CASE.proven(1, 0, payload=True), log_offset=99),)),
        ReceiptReason.RECORD,
    ),
    "enrolment of another site as a change of rights": (
        lambda d: replace(d, records=(CASE.proven(1, 2, payload=True),)),
        ReceiptReason.RECORD,
    ),
    "enrolment as offer": (
        lambda d: replace(d, key_offers=(CASE.proven(1, 0, payload=True),)),
        ReceiptReason.KEY_OFFER,
    ),
    "sequence put back to the enrolment": (lambda d: replace(d, sequence=0), ReceiptReason.ENROLMENT),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_head_is_refused_for_its_reason(name: str) -> None:
    change, expected = FORGERIES[name]
    assert reason(verify_head(CASE.genesis, CASE.last, change(CASE.document()))) is expected


def test_an_earlier_packet_is_not_taken_for_the_head() -> None:
    assert reason(verify_head(CASE.genesis, CASE.first, CASE.document())) is ReceiptReason.OTHER_PACKET


def test_without_any_payload_nothing_is_proven() -> None:
    assert reason(verify_head(CASE.genesis, None, CASE.document())) is ReceiptReason.NO_PACKET


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_change_of_a_field_raises_or_proves_another_head(data: st.DataObject) -> None:
    value: dict[str, Any] = CASE.document().as_json()
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(json_values)
    document = parse_site_head(json.dumps(value).encode())
    if isinstance(document, SiteHeadDocument):
        receipt = verify_head(CASE.genesis, CASE.last, document)
        assert isinstance(receipt, ReceiptProblem) or receipt.leaf_index == CASE.document().head.leaf_index


@given(data=st.binary(max_size=200))
def test_random_bytes_are_no_document(data: bytes) -> None:
    assert reason(parse_site_head(data)) is ReceiptReason.MALFORMED  # type: ignore[arg-type]
