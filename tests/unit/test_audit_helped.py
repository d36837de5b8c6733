"""With helpers an audit says what it says without them, also where rights change all the time."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.block import Block, Entry, Kind, encode_certified, make_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.control import Revoke
from pipeline.core.derive import entries_root
from pipeline.core.errors import TransientError
from pipeline.services.audit import Auditor, audit
from pipeline.services.audit_report import AuditReport, Source
from pipeline.services.survey_pool import SurveyPool
from tests.support.chain import Chain
from tests.support.world import control_value


def build() -> Chain:
    """A chain in which every few blocks a site comes, goes or gets another right, and packets follow at once."""
    chain = Chain()
    old = chain.world.site(1)
    chain.enrol(old)
    for number in range(2, 12):
        site = chain.world.site(number)
        chain.enrol(site)
        chain.packets(site.packet([1]), old.packet([1]))
        chain.packets(site.packet([2]))
        chain.block(*controls(chain.world.backfill(site, 0, 1)))
        chain.packets(site.packet([3], time_ms=1), old.packet([3]))
        if number % 3 == 0:
            revoke = Revoke(site.name, site.signer.public.fingerprint, "test")
            chain.block(*controls(chain.world.control(revoke)))
            chain.block(*controls(*chain.world.enrolment(site)[:1]))
            chain.packets(site.packet([4]), old.packet([4]))
    return chain


def controls(*raws: bytes) -> list[bytes]:
    """Frame control records."""
    return list(map(control_value, raws))


CHAIN = build()
BLOCKS = CHAIN.certified


@pytest.fixture(scope="module")
def pool() -> Iterator[SurveyPool]:
    helpers = SurveyPool(CHAIN.world.genesis, 2)
    yield helpers
    helpers.close()


async def audited(blocks: Sequence[bytes | None], pool: SurveyPool | None, *, strict: bool) -> AuditReport:
    async def windows() -> AsyncIterator[Sequence[Source]]:
        found = [Source(f"record {at}", data, at + 1 if strict else 0, at) for at, data in enumerate(blocks)]
        for at in range(0, len(found), 11):
            yield found[at : at + 11]

    return await audit(Auditor(CHAIN.world.genesis, strict=strict, pool=pool), windows(), lambda _count: None)


async def test_rights_that_change_all_the_time_are_followed(pool: SurveyPool) -> None:
    report = await audited(BLOCKS, pool, strict=True)
    assert report.is_good, report.finding
    assert report.as_json() == (await audited(BLOCKS, None, strict=True)).as_json()
    assert report.root == CHAIN.blocks[-1].checkpoint.root


async def test_good_blocks_are_left_to_the_helpers(pool: SurveyPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(*_arguments: object) -> None:
        pytest.fail("a good block was judged by the auditor itself")

    monkeypatch.setattr("pipeline.services.audit.extend", judged)
    assert (await audited(BLOCKS, pool, strict=True)).is_good


async def test_what_an_audit_learned_is_forgotten_in_the_next(pool: SurveyPool) -> None:
    assert (await audited(BLOCKS, pool, strict=True)).is_good
    template, packet = CHAIN.blocks[0].block, CHAIN.blocks[2].block.entries[0]
    entry = Entry(Kind.PACKET, template.entries[0].offset, template.entries[0].time_ms, packet.payload)
    report = await audited([lied(template, entry)], pool, strict=True)
    assert report.finding is not None
    assert "unknown_site" in str(report.finding)


def lied(template: Block, entry: Entry) -> bytes:
    """Return a first block with this entry alone, and a certificate of nodes that let it in."""
    header = replace(template.header, entry_count=1, entries_root=entries_root([entry]))
    block = make_block(header, [entry])
    frontier = CHAIN.world.state().head.frontier.extend(block.leaf_hashes)
    checkpoint = Checkpoint(CHAIN.world.genesis.origin, frontier.size, frontier.root())
    return encode_certified(block, CHAIN.world.certificate(checkpoint))


def flipped(blocks: list[bytes | None], at: int, place: int) -> None:
    data = bytearray(blocks[at] or b"junk")
    data[place % len(data)] ^= 1 << place % 8
    blocks[at] = bytes(data)


def dropped(blocks: list[bytes | None], at: int, _place: int) -> None:
    del blocks[at]


def doubled(blocks: list[bytes | None], at: int, place: int) -> None:
    blocks.insert(place % len(blocks), blocks[at])


def swapped(blocks: list[bytes | None], at: int, place: int) -> None:
    other = place % len(blocks)
    blocks[at], blocks[other] = blocks[other], blocks[at]


def junk(blocks: list[bytes | None], at: int, place: int) -> None:
    blocks.insert(at, None if place % 2 else b"junk")


Damage = Callable[[list[bytes | None], int, int], None]


@settings(max_examples=12, deadline=None)
@given(
    damages=st.lists(
        st.tuples(
            st.sampled_from([flipped, dropped, doubled, swapped, junk]),
            st.integers(0, 50),
            st.integers(0, 100_000),
        ),
        max_size=3,
    ),
    strict=st.booleans(),
)
async def test_damaged_chains_are_judged_alike(
    pool: SurveyPool, damages: list[tuple[Damage, int, int]], strict: bool
) -> None:
    blocks: list[bytes | None] = list(BLOCKS)
    for damage, at, place in damages:
        damage(blocks, at % len(blocks), place)
    helped, alone = await audited(blocks, pool, strict=strict), await audited(blocks, None, strict=strict)
    assert helped.as_json() == alone.as_json()


async def test_a_helper_that_ends_fails_the_audit_and_says_so() -> None:
    helpers = SurveyPool(CHAIN.world.genesis, 2)
    try:
        for process in helpers.processes:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(TransientError, match="helper") as failed:
            await audited(BLOCKS, helpers, strict=True)
        assert failed.value.code == "audit_helper"
    finally:
        helpers.close()
