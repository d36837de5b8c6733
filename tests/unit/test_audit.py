"""The audit passes a good chain, and names the first thing that is wrong with a bad one."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.adapters.block_folder import block_file, block_files
from pipeline.apps.audit_run import audit_folder
from pipeline.core.block import encode_certified, make_block
from pipeline.core.derive import entries_root
from pipeline.core.errors import ConfigError
from pipeline.services.audit import Auditor, audit
from pipeline.services.audit_report import AuditReport, Source
from pipeline.services.audit_sources import topic_windows
from pipeline.services.survey_pool import SurveyPool
from tests.support.chain import Chain, MemoryReader, MemoryTopic, framed
from tests.support.world import World, control_value


def build(blocks: int = 40) -> Chain:
    chain = Chain()
    sites = [chain.world.site(i) for i in (1, 2)]
    chain.enrol(*sites)
    for value in range(blocks - 1):
        chain.packets(*(site.packet([value]) for site in sites))
    return chain


CHAIN = build()
BLOCKS = CHAIN.certified


@pytest.fixture(scope="module", params=["alone", "helped"])
def pool(request: pytest.FixtureRequest) -> Iterator[SurveyPool | None]:
    """Every test runs without helpers and with two: the results are the same."""
    if request.param == "alone":
        yield None
        return
    helpers = SurveyPool(CHAIN.world.genesis, 2)
    yield helpers
    helpers.close()


async def of_topic(pool: SurveyPool | None, values: Sequence[bytes | None]) -> AuditReport:
    topic = MemoryTopic(values=list(values))
    auditor = Auditor(CHAIN.world.genesis, strict=False, pool=pool)
    return await audit(auditor, topic_windows(MemoryReader(topic), 0, len(values)), lambda _count: None)


async def of_files(pool: SurveyPool | None, files: dict[int, bytes]) -> AuditReport:
    async def windows() -> AsyncIterator[Sequence[Source]]:
        sources = [Source(f"{height:08d}.block", data, height) for height, data in sorted(files.items())]
        for at in range(0, len(sources), 7):
            yield sources[at : at + 7]

    return await audit(Auditor(CHAIN.world.genesis, strict=True, pool=pool), windows(), lambda _count: None)


def files() -> dict[int, bytes]:
    return dict(enumerate(BLOCKS, 1))


async def test_a_good_chain_passes_from_a_topic_and_from_files(pool: SurveyPool | None) -> None:
    for report in (await of_topic(pool, list(map(framed, BLOCKS))), await of_files(pool, files())):
        assert report.is_good
        assert (report.blocks, report.packets, report.controls, report.height) == (40, 78, 4, 40)
        assert report.root == CHAIN.blocks[-1].checkpoint.root
        assert report.chain_bytes == sum(len(derived.block.encoded) for derived in CHAIN.blocks)


async def test_a_flipped_byte_is_named_by_block_entry_field_and_byte(pool: SurveyPool | None) -> None:
    copies = files()
    bad = bytearray(copies[21])
    place = bad.index(CHAIN.blocks[20].block.entries[1].payload) + 100
    bad[place] ^= 1
    copies[21] = bytes(bad)
    report = await of_files(pool, copies)
    assert report.finding is not None
    assert report.finding.damage is not None
    damage = report.finding.damage
    assert (report.finding.height, damage.entry, damage.field) == (21, 1, "payload")
    assert damage.start <= place < damage.end
    assert "00000021.block" in str(report.finding)
    assert report.height == 20


async def test_a_bad_signature_that_the_nodes_certified_is_named(pool: SurveyPool | None) -> None:
    block = CHAIN.blocks[20].block
    payload = bytearray(block.entries[1].payload)
    payload[-1] ^= 1
    entries = (block.entries[0], replace(block.entries[1], payload=bytes(payload)))
    forged = make_block(replace(block.header, entries_root=entries_root(entries)), entries)
    frontier = CHAIN.blocks[19].changes.head.frontier.extend(forged.leaf_hashes)
    checkpoint = replace(CHAIN.blocks[20].checkpoint, size=frontier.size, root=frontier.root())
    copies = files() | {21: encode_certified(forged, CHAIN.world.certificate(checkpoint))}
    report = await of_files(pool, copies)
    assert report.finding is not None
    assert report.finding.damage is not None
    assert (report.finding.height, report.finding.damage.entry) == (21, 1)
    assert "bad_signature" in str(report.finding)


async def test_a_missing_file_is_named(pool: SurveyPool | None) -> None:
    copies = files()
    del copies[5]
    report = await of_files(pool, copies)
    assert report.finding is not None
    assert (report.finding.height, report.finding.reason) == (5, "missing")


async def test_swapped_files_are_found(pool: SurveyPool | None) -> None:
    copies = files()
    copies[5], copies[6] = copies[6], copies[5]
    report = await of_files(pool, copies)
    assert report.finding is not None
    assert report.finding.height == 5


async def test_on_a_topic_junk_and_repeats_are_counted_and_harm_nobody(pool: SurveyPool | None) -> None:
    values: list[bytes | None] = [*map(framed, BLOCKS)]
    values[10:10] = [None, b"junk", framed(BLOCKS[3]), framed(BLOCKS[12])]
    report = await of_topic(pool, values)
    assert report.is_good
    assert (report.repeats, report.skipped_count) == (1, 3)


async def test_a_topic_without_one_block_is_bad(pool: SurveyPool | None) -> None:
    report = await of_topic(pool, [*map(framed, [*BLOCKS[:9], *BLOCKS[10:]])])
    assert report.finding is not None
    assert report.finding.height == 10


async def test_a_topic_that_ends_before_a_certificate_is_bad(pool: SurveyPool | None) -> None:
    stray = encode_certified(CHAIN.blocks[0].block, CHAIN.world.certificate(CHAIN.blocks[-1].checkpoint))
    report = await of_topic(pool, [framed(stray), *map(framed, BLOCKS[:-1])])
    assert report.finding is not None
    assert report.finding.reason == "block_gap"


async def test_two_certified_histories_are_a_fork(pool: SurveyPool | None) -> None:
    fork = Chain(CHAIN.world)
    fork.block(*(control_value(entry.payload) for entry in CHAIN.blocks[0].block.entries))
    fork.packets(CHAIN.world.site(1).packet([99]))
    report = await of_topic(pool, [*map(framed, BLOCKS), framed(fork.certified[1])])
    assert report.finding is not None
    assert report.finding.reason == "fork"


def test_blocks_of_another_chain_are_not_believed() -> None:
    auditor = Auditor(World(nodes=5, quorum=4).genesis, strict=True)
    assert not auditor.take([Source("00000001.block", BLOCKS[0], 1)])


def test_a_folder_is_audited_in_the_order_of_heights(tmp_path: Path) -> None:
    for height, data in files().items():
        block_file(tmp_path, height).write_bytes(data)
    (tmp_path / "notes.txt").write_text("left alone")
    report = audit_folder(CHAIN.world.genesis, tmp_path)
    assert report.is_good
    assert report.height == 40


def test_a_folder_without_blocks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"00000001\.block"):
        block_files(tmp_path)


def test_the_report_is_json(tmp_path: Path) -> None:
    block_file(tmp_path, 1).write_bytes(BLOCKS[0][:-3] + b"xyz")
    value = audit_folder(CHAIN.world.genesis, tmp_path).as_json()
    assert value["audit_ok"] is False
    assert value["problem"]
    assert value["finding"]["field"] == "certificate"


async def test_the_right_block_under_the_name_of_another_is_found(pool: SurveyPool | None) -> None:
    copies = files()
    copies[41] = copies.pop(40)
    report = await of_files(pool, copies)
    assert report.finding is not None
    assert (report.finding.height, report.finding.reason) == (40, "missing")
