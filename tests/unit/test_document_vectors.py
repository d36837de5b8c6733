"""Golden vectors of the JSON documents that leave the platform: site heads, access requests and answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.sql.view import SqlLedgerView
from pipeline.core.access_book import parse_token
from pipeline.core.keys import Use
from pipeline.core.names import SiteName, parse_site_id
from pipeline.core.receipt import Receipt, verify_head
from pipeline.core.sealing import Suite
from pipeline.core.signing import Ed25519Signer, P256Signer, Signer
from pipeline.core.site_head import SiteHeadDocument, parse_site_head
from pipeline.services.access import read_answer, read_request, write_answer, write_request
from pipeline.services.follower import Follower
from pipeline.services.site_heads import site_head
from tests.support.chain import MemoryReader
from tests.support.golden import GENESIS, blocks_topic, golden
from tests.vectors.core_world import REGISTRAR, secrets

BY_SUITE = pytest.mark.parametrize("place", range(3), ids=[suite.name for suite in Suite])


def site_of(stored: dict[str, str]) -> SiteName:
    """Return the site that a document's fields name."""
    return SiteName(stored["country"], stored["city"], parse_site_id(stored["site_id"]))


@BY_SUITE
async def test_the_head_of_a_site_after_the_golden_blocks_is_the_stored_document(
    tmp_path: Path, place: int
) -> None:
    stored: dict[str, Any] = golden("site_head")[place]
    view = SqlLedgerView(tmp_path, GENESIS)
    follower = Follower(GENESIS, MemoryReader(blocks_topic()), view)
    while await follower.step(0):
        pass
    with view.snapshot() as snapshot:
        document = site_head(GENESIS.chain, snapshot, site_of(stored["site"]))
    view.close()
    assert document is not None
    assert document.as_json() == stored


@BY_SUITE
def test_the_stored_head_proves_the_stored_packet(place: int) -> None:
    stored, packet = golden("site_head")[place], golden("core_packets")[place]
    document = parse_site_head(json.dumps(stored).encode())
    assert isinstance(document, SiteHeadDocument)
    receipt = verify_head(GENESIS, bytes.fromhex(packet["raw"]), document)
    assert isinstance(receipt, Receipt)
    assert (receipt.sequence, receipt.packet_id.hex()) == (7, packet["packet_id"])
    assert len(receipt.key_offers) == 1


@BY_SUITE
def test_a_site_asks_for_access_with_the_stored_file(place: int) -> None:
    stored = golden("access_request")[place]
    request = read_request(stored["file"].encode(), GENESIS)
    token = parse_token(stored["token"], GENESIS.chain)
    assert token is not None
    assert request.is_backed_by(token)
    assert request.digest.hex() == stored["digest"]
    (algorithm, secret), _ = secrets(stored["suite"])
    signer: Signer = (Ed25519Signer if algorithm == 1 else P256Signer)(secret, Use.SITE)
    assert request.key == signer.public
    again = write_request(
        GENESIS,
        request.site,
        signer,
        suites=request.suites,
        indicators=request.indicators,
        equipment=request.equipment,
        moment=request.moment,
        manifest=request.manifest,
        token=token,
        bundle=request.bundle,
    )
    assert again.decode() == stored["file"]


@BY_SUITE
def test_the_registrar_answers_with_the_stored_file(place: int) -> None:
    stored = golden("access_answer")[place]
    answer = read_answer(stored["file"].encode(), GENESIS)
    assert write_answer(answer, Ed25519Signer(REGISTRAR, Use.REGISTRAR)).decode() == stored["file"]
    assert answer.offer_for(Suite(stored["suite"])) == answer.offers[0]
