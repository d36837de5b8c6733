"""An audit that was stopped goes on where it stopped, and ends with what it would have said."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.adapters.block_folder import block_file
from pipeline.adapters.sql.audit_store import SqlAuditStore
from pipeline.core.block import encode_certified
from pipeline.core.errors import ConfigError, TransientError
from pipeline.services.audit import Auditor, audit
from pipeline.services.audit_report import AuditReport, Source
from pipeline.services.survey_pool import SurveyPool
from tests.support import command_line
from tests.support.chain import Chain
from tests.support.world import World, control_value

SOURCE = "a topic"


def build() -> Chain:
    chain = Chain()
    sites = [chain.world.site(number) for number in range(1, 4)]
    for site in sites:
        chain.enrol(site)
        chain.packets(*(each.packet([1]) for each in sites[: site.name.site_id[-1]]))
    for value in range(20):
        chain.packets(*(site.packet([value]) for site in sites))
    return chain


CHAIN = build()
BLOCKS = CHAIN.certified


@pytest.fixture(params=["alone", "helped"])
def pool(request: pytest.FixtureRequest) -> Iterator[SurveyPool | None]:
    helpers = SurveyPool(CHAIN.world.genesis, 2) if request.param == "helped" else None
    yield helpers
    if helpers is not None:
        helpers.close()


async def run(
    file: Path, records: Sequence[bytes | None], pool: SurveyPool | None, stop: int | None = None
) -> AuditReport:
    """Audit records from where the file says; ``stop`` is where the source goes away."""
    store = SqlAuditStore(file, CHAIN.world.genesis, SOURCE)
    try:
        auditor = Auditor(CHAIN.world.genesis, strict=False, pool=pool, store=store)

        async def windows() -> AsyncIterator[Sequence[Source]]:
            for at in range(auditor.position, len(records)):
                if at == stop:
                    raise TransientError("away", code="kafka")
                yield [Source(f"offset {at}", records[at], position=at)]

        return await audit(auditor, windows(), lambda _count: None)
    finally:
        store.close()


async def stopped(file: Path, records: Sequence[bytes | None], pool: SurveyPool | None, stop: int) -> None:
    with pytest.raises(TransientError):
        await run(file, records, pool, stop)


def without_traces(report: AuditReport) -> dict[str, object]:
    return report.as_json() | {"resumed_after": 0}


@pytest.mark.parametrize("stop", [1, 2, 9, 25])
async def test_a_resumed_audit_says_what_a_whole_one_says(
    tmp_path: Path, pool: SurveyPool | None, stop: int
) -> None:
    records: list[bytes | None] = [*BLOCKS]
    records[5:5] = [None, b"junk", BLOCKS[2], BLOCKS[9]]
    whole = await run(tmp_path / "whole", records, None)
    await stopped(tmp_path / "file", records, pool, stop)
    resumed = await run(tmp_path / "file", records, pool)
    assert whole.is_good
    assert without_traces(resumed) == without_traces(whole)
    assert (1 if pool is None else 0) <= resumed.resumed_after <= stop


async def test_nothing_that_was_audited_is_read_again(tmp_path: Path) -> None:
    await stopped(tmp_path / "file", BLOCKS, None, 20)
    resumed = await run(tmp_path / "file", [*[None] * 20, *BLOCKS[20:]], None)
    assert resumed.is_good
    assert (resumed.resumed_after, resumed.height) == (20, len(BLOCKS))


async def test_damage_after_the_stop_is_found(tmp_path: Path, pool: SurveyPool | None) -> None:
    await stopped(tmp_path / "file", BLOCKS, pool, 10)
    resumed = await run(tmp_path / "file", [*BLOCKS[:15], *BLOCKS[16:]], pool)
    assert resumed.finding is not None
    assert resumed.finding.height == 16


async def test_a_certificate_seen_before_the_stop_is_remembered(tmp_path: Path) -> None:
    stray = encode_certified(CHAIN.blocks[0].block, CHAIN.world.certificate(CHAIN.blocks[-1].checkpoint))
    records = [stray, *BLOCKS[:-1]]
    await stopped(tmp_path / "file", records, None, 10)
    resumed = await run(tmp_path / "file", records, None)
    assert resumed.finding is not None
    assert resumed.finding.reason == "block_gap"


async def test_a_fork_of_what_came_before_the_stop_is_found(tmp_path: Path) -> None:
    fork = Chain(CHAIN.world)
    fork.block(*(control_value(entry.payload) for entry in CHAIN.blocks[0].block.entries))
    fork.packets(CHAIN.world.site(1).packet([99]))
    await stopped(tmp_path / "file", BLOCKS, None, 20)
    resumed = await run(tmp_path / "file", [*BLOCKS, fork.certified[1]], None)
    assert resumed.finding is not None
    assert resumed.finding.reason == "fork"


def test_progress_of_another_source_is_refused(tmp_path: Path) -> None:
    store = SqlAuditStore(tmp_path / "file", CHAIN.world.genesis, SOURCE)
    auditor = Auditor(CHAIN.world.genesis, strict=True, store=store)
    assert auditor.take([Source("1", BLOCKS[0], 1)])
    auditor.save()
    store.close()
    with pytest.raises(ConfigError, match="an audit of a topic") as refused:
        SqlAuditStore(tmp_path / "file", CHAIN.world.genesis, "a folder")
    assert refused.value.code == "audit_resume"


def test_progress_of_another_chain_is_refused(tmp_path: Path) -> None:
    SqlAuditStore(tmp_path / "file", CHAIN.world.genesis, SOURCE).close()
    with pytest.raises(ConfigError, match="chain"):
        SqlAuditStore(tmp_path / "file", World(nodes=5, quorum=4).genesis, SOURCE)


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear Sir or Madam, this is not a database.")
    with pytest.raises(ConfigError, match="another one"):
        SqlAuditStore(file, CHAIN.world.genesis, SOURCE)
    assert file.read_text().startswith("Dear")


def test_a_temporary_file_is_gone_afterwards() -> None:
    store = SqlAuditStore(None, CHAIN.world.genesis, SOURCE)
    file = Path(str(store._engine.url.database))
    assert file.exists()
    store.close()
    assert not file.parent.exists()


def test_the_command_goes_on_and_says_from_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks, genesis = tmp_path / "blocks", tmp_path / "genesis.json"
    blocks.mkdir()
    genesis.write_bytes(CHAIN.world.genesis.raw)

    def verify() -> tuple[int, str, str]:
        arguments = ["verify", "--blocks", str(blocks), "--genesis", str(genesis)]
        code = command_line.run(*arguments, "--resume", tmp_path / "progress")
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    for height, data in enumerate(BLOCKS[:10], 1):
        block_file(blocks, height).write_bytes(data)
    code, out, err = verify()
    assert (code, "height 10" in out, "earlier run" in err) == (0, True, False)
    for height, data in enumerate(BLOCKS[10:], 11):
        block_file(blocks, height).write_bytes(data)
    block_file(blocks, 5).write_bytes(b"changed since, which the first run can't know")
    code, out, err = verify()
    assert (code, f"height {len(BLOCKS)}" in out) == (0, True)
    assert "blocks 1 to 10 were audited by an earlier run" in err


async def test_what_was_wrong_is_found_again(tmp_path: Path) -> None:
    """A certificate for another second block came first; that the second block contradicts it must not be forgotten."""
    fork = Chain(CHAIN.world)
    fork.block(*(control_value(entry.payload) for entry in CHAIN.blocks[0].block.entries))
    fork.packets(CHAIN.world.site(1).packet([99]))
    certificate = CHAIN.world.certificate(fork.blocks[1].checkpoint)
    records = [encode_certified(CHAIN.blocks[5].block, certificate), *BLOCKS]
    for _ in range(3):
        report = await run(tmp_path / "file", records, None)
        assert report.finding is not None
        assert report.finding.reason == "fork"
