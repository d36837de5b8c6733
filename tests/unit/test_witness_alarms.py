"""An exporter under a policy stops, and stays stopped, where a witness reports a fork or a rollback."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.adapters.witness_client import HttpWitnessClient
from pipeline.core.errors import IntegrityError
from pipeline.core.tiles import tiles_of
from pipeline.services.exporter import ExportPolicy
from tests.support.tiles import exported_files, exporter
from tests.support.witness import Answer, HonestWitness
from tests.support.witnessing import (
    PACE,
    PATIENT_S,
    WitnessCase,
    export,
    policy_of,
    published,
    size_of,
    stays_unpublished,
    worker,
)


@pytest.fixture(scope="module")
def case() -> WitnessCase:
    return WitnessCase()


@pytest.fixture
async def witness(case: WitnessCase) -> AsyncIterator[HonestWitness]:
    found = HonestWitness(case.log)
    async with found.served():
        yield found


async def witness_of_other_history(case: WitnessCase, folder: Path, blocks: int) -> HonestWitness:
    """Return a witness that cosigned another history of the same log."""
    found = HonestWitness(case.log)
    async with found.served():
        topic = case.topic(blocks, case.other)
        await export(worker(case, folder, topic, policy_of(case.world, found)))
    assert found.size
    return found


@pytest.mark.parametrize("seen", [3, 6], ids=["smaller", "same size"])
@pytest.mark.parametrize("spoilt", [None, Answer(409), Answer(422)], ids=["honest", "409", "422"])
async def test_a_reported_fork_stops_publication_and_leaves_the_old_checkpoint(
    case: WitnessCase, tmp_path: Path, seen: int, spoilt: Answer | None
) -> None:
    forked = await witness_of_other_history(case, tmp_path / "other", seen)
    second = HonestWitness(case.log, "w2.example/witness")
    async with forked.served(), second.served():
        await export(worker(case, tmp_path / "log", case.topic(2), policy_of(case.world, second)))
        before = exported_files(tmp_path / "log")["checkpoint"]
        if spoilt is not None and seen == 6:
            forked.spoil = lambda request: None if request.startswith(b"old 0\n") else spoilt
        policy = policy_of(case.world, forked, second)
        with pytest.raises(IntegrityError) as halted:
            await export(worker(case, tmp_path / "log", case.topic(), policy))
    assert halted.value.code == "witness_fork"
    assert forked.name in str(halted.value)
    assert exported_files(tmp_path / "log")["checkpoint"] == before


async def test_who_reported_a_fork_holds_up_later_starts_until_it_cosigns_or_is_dropped(
    case: WitnessCase, tmp_path: Path
) -> None:
    forked = await witness_of_other_history(case, tmp_path / "other", 3)
    second = HonestWitness(case.log, "w2.example/witness")
    folder = tmp_path / "log"
    async with second.served():
        async with forked.served():
            policy = policy_of(case.world, forked, second)
            with pytest.raises(IntegrityError):
                await export(worker(case, folder, case.topic(), policy))
        await stays_unpublished(case, folder, case.topic(), policy)
        (folder / "checkpoint").write_bytes(b"")
        for tile in tiles_of(case.size(6)):
            (folder / tile.path).unlink()
        await stays_unpublished(case, folder, case.topic(), policy)
        mended = HonestWitness(case.log)
        async with mended.served():
            await export(worker(case, folder, case.topic(), policy_of(case.world, mended, second)))
        assert size_of(folder) == case.size(6)


async def test_a_policy_without_the_accuser_publishes(case: WitnessCase, tmp_path: Path) -> None:
    forked = await witness_of_other_history(case, tmp_path / "other", 3)
    second = HonestWitness(case.log, "w2.example/witness")
    folder = tmp_path / "log"
    async with second.served(), forked.served():
        with pytest.raises(IntegrityError):
            await export(worker(case, folder, case.topic(), policy_of(case.world, forked, second)))
        await export(worker(case, folder, case.topic(), policy_of(case.world, second)))
    assert size_of(folder) == case.size(6)


async def test_a_fork_told_after_the_quorum_stops_the_next_checkpoint(
    case: WitnessCase, tmp_path: Path
) -> None:
    forked = await witness_of_other_history(case, tmp_path / "other", 1)
    second, told = HonestWitness(case.log, "w2.example/witness"), asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await told.wait()
        writer.write(b"HTTP/1.1 422 X\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    forked.spoil = lambda request: None if request.startswith(b"old 0\n") else late
    topic = case.topic(5)
    async with second.served(), forked.served():
        publishing = ExportPolicy(policy_of(case.world, forked, second), HttpWitnessClient(30.0), PACE)
        made = exporter(tmp_path / "log", case.world, topic, publishing=publishing)
        await made.finish()
        assert size_of(tmp_path / "log") == case.size(5)
        told.set()
        topic.publish(case.chain.certified[5:])
        with pytest.raises(IntegrityError) as halted:
            await made.finish()
        await made.close()
    assert halted.value.code == "witness_fork"
    assert size_of(tmp_path / "log") == case.size(5)


async def test_a_log_rolled_back_stops_publication_and_leaves_the_old_checkpoint(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    policy = policy_of(case.world, witness)
    await export(worker(case, tmp_path / "whole", case.topic(), policy))
    second = HonestWitness(case.log, "w2.example/witness")
    async with second.served():
        await export(worker(case, tmp_path / "log", case.topic(2), policy_of(case.world, second)))
        before = exported_files(tmp_path / "log")["checkpoint"]
        with pytest.raises(IntegrityError) as halted:
            made = worker(case, tmp_path / "log", case.topic(4), policy_of(case.world, witness, second))
            await export(made)
    assert halted.value.code == "witness_ahead"
    assert str(case.size(6)) in str(halted.value)
    assert exported_files(tmp_path / "log")["checkpoint"] == before


async def test_a_larger_tree_at_a_witness_is_no_alarm_while_blocks_are_still_to_be_read(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    policy = policy_of(case.world, witness)
    await export(worker(case, tmp_path / "whole", case.topic(), policy))
    topic = case.topic(3)
    made = worker(case, tmp_path / "log", topic, policy, pace=replace(PACE, patience=PATIENT_S))
    for _ in range(5):
        await made.step(0)
    assert published(tmp_path / "log") is None
    topic.publish(case.chain.certified[3:])
    await export(made)
    assert size_of(tmp_path / "log") == case.size(6)


async def test_damaged_tiles_are_no_fork(case: WitnessCase, tmp_path: Path, witness: HonestWitness) -> None:
    policy = policy_of(case.world, witness)
    await export(worker(case, tmp_path, case.topic(2), policy))
    gone = HonestWitness(case.log, "w2.example/witness")
    async with gone.served():
        pass
    await stays_unpublished(case, tmp_path, case.topic(), policy_of(case.world, gone))
    full = tmp_path / "tile/0/000"
    content = bytearray(full.read_bytes())
    content[-1] ^= 1
    full.write_bytes(content)
    with pytest.raises(IntegrityError) as halted:
        await export(worker(case, tmp_path, case.topic(), policy))
    assert halted.value.code == "export_damaged"
    assert witness.size == case.size(2)


async def test_a_missing_tile_is_named(case: WitnessCase, tmp_path: Path, witness: HonestWitness) -> None:
    policy = policy_of(case.world, witness)
    await export(worker(case, tmp_path, case.topic(2), policy))
    gone = HonestWitness(case.log, "w2.example/witness")
    async with gone.served():
        pass
    await stays_unpublished(case, tmp_path, case.topic(), policy_of(case.world, gone))
    (tmp_path / "tile/0/000").unlink()
    with pytest.raises(IntegrityError, match="tile/0/000"):
        await export(worker(case, tmp_path, case.topic(), policy))
