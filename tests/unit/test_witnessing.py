"""An exporter under a policy publishes what outside witnesses cosigned, and stops where one of them contradicts."""

import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.adapters.sql.export_store import SqlExportStore
from pipeline.adapters.tile_files import TileFiles
from pipeline.adapters.witness_client import HttpWitnessClient
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.errors import ConfigError, TransientError
from pipeline.core.followed import Applied
from pipeline.core.note import parse_note
from pipeline.core.policy_file import log_verifier, policy_text
from pipeline.core.tiles import tiles_of
from pipeline.core.tlog_policy import TlogPolicy, Witnessed, check_note, parse_policy
from pipeline.core.witness import MAX_ANSWER_BYTES
from pipeline.services.export_sink import ExportSink
from pipeline.services.exporter import ExportPolicy
from pipeline.services.follower import Follower
from tests.support.chain import MemoryReader
from tests.support.tiles import exported_files, exporter
from tests.support.witness import Answer, HonestWitness, Raw, drip, flood, hang, no_http, reset
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
from tests.support.world import World
from tests.unit.test_exporter import CrashError, CrashingFiles


@pytest.fixture(scope="module")
def case() -> WitnessCase:
    return WitnessCase()


@pytest.fixture
async def witness(case: WitnessCase) -> AsyncIterator[HonestWitness]:
    found = HonestWitness(case.log)
    async with found.served():
        yield found


async def test_a_checkpoint_is_published_with_the_witness_under_the_policy(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    policy = policy_of(case.world, witness)
    await export(worker(case, tmp_path, case.topic(), policy))
    found = check_note(policy, exported_files(tmp_path)["checkpoint"])
    assert isinstance(found, Witnessed)
    assert witness.name in [name for name, _ in found.cosigners]
    assert found.log == case.log
    assert found.checkpoint.size == case.size(6)


async def test_each_larger_tree_is_proven_from_what_the_witness_has(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    policy = policy_of(case.world, witness)
    for blocks in range(1, 7):
        await export(worker(case, tmp_path, case.topic(blocks), policy))
        assert size_of(tmp_path) == case.size(blocks)
    old = [request.split(b"\n")[0] for request in witness.requests]
    starts = [b"old 0", *(line for n in range(1, 6) for line in (b"old 0", b"old %d" % case.size(n)))]
    assert old == starts


async def test_a_running_exporter_remembers_what_the_witness_has(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    topic = case.topic(2)
    made = worker(case, tmp_path, topic, policy_of(case.world, witness))
    await made.finish()
    topic.publish(case.chain.certified[2:])
    await export(made)
    assert size_of(tmp_path) == case.size(6)
    old = [request.split(b"\n")[0] for request in witness.requests]
    assert old == [b"old 0", b"old %d" % case.size(2)]


async def test_a_request_holds_the_signature_of_the_log_alone(tmp_path: Path) -> None:
    case = WitnessCase(mldsa44=True)
    witness = HonestWitness(case.log)
    async with witness.served():
        await export(worker(case, tmp_path, case.topic(), policy_of(case.world, witness)))
    (request,) = witness.requests
    assert len(request) < 10_000 < len(exported_files(tmp_path)["checkpoint"])
    note = parse_note(request.partition(b"\n\n")[2])
    assert not isinstance(note, str)
    assert [line.name for line in note.signatures] == [case.log.name]


async def test_while_a_witness_is_away_tiles_are_written_and_the_checkpoint_stays(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    policy = policy_of(case.world, witness)
    await export(worker(case, tmp_path, case.topic(1), policy))
    gone = HonestWitness(case.log)
    async with gone.served():
        pass
    message = await stays_unpublished(case, tmp_path, case.topic(), policy_of(case.world, gone))
    assert gone.name in message
    files = exported_files(tmp_path)
    assert size_of(tmp_path) == case.size(1)
    assert {tile.path for tile in tiles_of(case.size(6))} <= files.keys()
    await export(worker(case, tmp_path, case.topic(), policy))
    assert size_of(tmp_path) == case.size(6)


async def test_partial_tiles_of_the_old_checkpoint_alone_stay_until_the_new_one_is_published(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    topic = case.topic(2)
    made = worker(case, tmp_path, topic, policy_of(case.world, witness))
    await made.finish()
    witness.spoil = lambda _request: Answer(500)
    for block in case.chain.certified[2:]:
        topic.publish([block])
        await made.step(0)
    old = {tile.path for tile in tiles_of(case.size(2)) if not tile.is_full}
    left = {place for place in exported_files(tmp_path) if "/000.p/" in place and "tile/1/" not in place}
    assert left == old
    witness.spoil = lambda _request: None
    await export(made)
    assert old.isdisjoint(exported_files(tmp_path))


ELSEWHERE = Checkpoint(World().genesis.origin, 1, bytes(32))
LOG = log_verifier(World().genesis)


@pytest.mark.parametrize(
    "spoilt",
    [
        Answer(500),
        Answer(503, b"later\n"),
        Answer(429),
        Answer(404),
        Answer(403),
        Answer(400),
        Answer(409),
        Answer(409, b"many\n", "text/x.tlog.size"),
        Answer(409, b"0\n", "text/x.tlog.size"),
        Answer(409, b"1\n", "text/plain"),
        Answer(422),
        Answer(301),
        Answer(200),
        Answer(200, b"cosigned\n"),
        Answer(200, HonestWitness(LOG).cosigned(ELSEWHERE)),
        Answer(200, HonestWitness(LOG, "w2.example/witness").cosigned(ELSEWHERE)),
        Answer(200, b"\x80" * 100),
        Answer(200, b"-" * (MAX_ANSWER_BYTES + 1)),
        hang,
        reset,
        no_http,
        drip,
        flood,
    ],
)
async def test_a_witness_that_answers_badly_gives_nothing_and_ends_nothing(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness, spoilt: Answer | Raw
) -> None:
    policy = policy_of(case.world, witness)
    witness.spoil = lambda _request: spoilt
    began = time.monotonic()
    await stays_unpublished(case, tmp_path, case.topic(), policy)
    assert time.monotonic() - began < PATIENT_S / 2
    assert published(tmp_path) is None
    witness.spoil = lambda _request: None
    await export(worker(case, tmp_path, case.topic(), policy))
    assert size_of(tmp_path) == case.size(6)


async def test_who_hangs_does_not_hold_up_a_quorum_without_it(case: WitnessCase, tmp_path: Path) -> None:
    witnesses = [HonestWitness(case.log, f"w{i}.example/witness") for i in (1, 2, 3)]
    witnesses[0].spoil = lambda _request: hang
    async with AsyncExitStack() as stack:
        for found in witnesses:
            await stack.enter_async_context(found.served())
        client = HttpWitnessClient(2 * PATIENT_S)
        pace = replace(PACE, longest=2 * PATIENT_S)
        publishing = ExportPolicy(policy_of(case.world, *witnesses, needed=2), client, pace)
        began = time.monotonic()
        await export(exporter(tmp_path, case.world, case.topic(), publishing=publishing))
        assert time.monotonic() - began < PATIENT_S
    assert size_of(tmp_path) == case.size(6)


async def test_two_of_three_are_not_made_by_one_that_answers_twice(case: WitnessCase, tmp_path: Path) -> None:
    witnesses = [HonestWitness(case.log, f"w{i}.example/witness") for i in (1, 2, 3)]
    async with witnesses[0].served():
        for found in witnesses[1:]:
            found.url = witnesses[0].url
        await stays_unpublished(case, tmp_path, case.topic(), policy_of(case.world, *witnesses, needed=2))


async def test_an_export_without_witnesses_gets_them_when_a_policy_is_set(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    plain = exporter(tmp_path, case.world, case.topic())
    await export(plain)
    policy = policy_of(case.world, witness)
    assert not isinstance(check_note(policy, exported_files(tmp_path)["checkpoint"]), Witnessed)
    await export(worker(case, tmp_path, case.topic(), policy))
    assert isinstance(check_note(policy, exported_files(tmp_path)["checkpoint"]), Witnessed)
    asked = len(witness.requests)
    await export(worker(case, tmp_path, case.topic(), policy))
    assert len(witness.requests) == asked


class FailingFiles(TileFiles):
    """Files whose checkpoint can't be written a number of times."""

    left = 2

    def write_checkpoint(self, note: bytes) -> None:
        if self.left:
            self.left -= 1
            raise TransientError("the disk refuses", code="disk")
        super().write_checkpoint(note)


async def test_a_checkpoint_that_could_not_be_written_is_written_later(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    policy = policy_of(case.world, witness)
    publishing = ExportPolicy(policy, HttpWitnessClient(PATIENT_S), PACE)
    made = exporter(tmp_path, case.world, case.topic(), FailingFiles(tmp_path), publishing)
    for _ in range(2):
        with pytest.raises(TransientError):
            await made.finish()
    await export(made)
    assert size_of(tmp_path) == case.size(6)


async def test_a_crash_at_any_write_leaves_what_the_policy_accepts_and_goes_on(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    policy, crashes, done = policy_of(case.world, witness), 0, False
    await export(worker(case, tmp_path / "start", case.topic(4), policy))
    start = witness.size, witness.root
    while not done:
        folder = shutil.copytree(tmp_path / "start", tmp_path / str(crashes))
        witness.size, witness.root = start
        publishing = ExportPolicy(policy, HttpWitnessClient(PATIENT_S), PACE)
        crashing = CrashingFiles(folder, crashes)
        made = exporter(folder, case.world, case.topic(), crashing, publishing)
        try:
            await export(made)
            done = True
        except CrashError:
            crashes += 1
        assert size_of(folder) in (case.size(4), case.size(6))
        assert isinstance(check_note(policy, exported_files(folder)["checkpoint"]), Witnessed)
        await export(worker(case, folder, case.topic(), policy))
        assert size_of(folder) == case.size(6)
    assert crashes > 6


class FailingStore(SqlExportStore):
    """A store whose disk may be full."""

    is_full = False

    def save(self, applied: Sequence[Applied], next_offset: int, checkpoint: bytes) -> None:
        if self.is_full:
            raise TransientError("the disk refuses", code="disk")
        super().save(applied, next_offset, checkpoint)


async def test_what_could_not_be_stored_is_no_candidate_after_a_reload(
    case: WitnessCase, tmp_path: Path, witness: HonestWitness
) -> None:
    policy = policy_of(case.world, witness)
    await export(worker(case, tmp_path, case.topic(2), policy))
    store = FailingStore(tmp_path / ".state", case.world.genesis)
    sink = ExportSink(case.world.genesis, case.world.log_signer, TileFiles(tmp_path), store, policy)
    follower = Follower(case.world.genesis, MemoryReader(case.topic()), sink)

    def size() -> int | None:
        return sink.candidate.checkpoint.size if sink.candidate is not None else None

    await follower.open()
    assert size() is None
    store.is_full = True
    with pytest.raises(TransientError):
        await follower.step(0)
    await follower.open()
    assert size() is None
    store.is_full = False
    await follower.step(0)
    store.close()
    assert size() == case.size(6)


async def test_a_policy_that_the_nodes_meet_asks_nobody(case: WitnessCase, tmp_path: Path) -> None:
    policy = parse_policy(policy_text(case.world.genesis).encode())
    assert isinstance(policy, TlogPolicy)
    await export(worker(case, tmp_path, case.topic(), policy))
    assert size_of(tmp_path) == case.size(6)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("", "neither accounting nodes nor have an address"),
        ("ftp://w1.example/", "not plain http"),
        ("w1.example", "not plain http"),
        ("https:///add", "not plain http"),
        ("https://[::1", "not plain http"),
        ("https://w1.example:99999/", "not plain http"),
        ("https://user:password@w1.example/", "not plain http"),
        ("https://w1.example/?key=1", "not plain http"),
        ("https://w1.example/#add", "not plain http"),
    ],
)
def test_a_policy_that_can_not_be_met_is_a_mistake_of_the_user(
    case: WitnessCase, tmp_path: Path, address: str, problem: str
) -> None:
    policy = policy_of(case.world, HonestWitness(case.log, url=address))
    with pytest.raises(ConfigError, match=problem) as refused:
        worker(case, tmp_path, case.topic(), policy)
    assert refused.value.code == "policy"


def test_the_policy_of_another_log_is_a_mistake_of_the_user(case: WitnessCase, tmp_path: Path) -> None:
    policy = policy_of(World(topic="kpi.other.v1"), HonestWitness(case.log, url="https://w1.example/"))
    with pytest.raises(ConfigError, match="does not list the log"):
        worker(case, tmp_path, case.topic(), policy)
