"""A witness that we did not write cosigns what our exporter asks for, and refuses forks and rollbacks of it."""

import asyncio
import sqlite3
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline.adapters.tile_files import TileFiles
from pipeline.adapters.witness_client import HttpWitnessClient
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.keys import Use
from pipeline.core.merkle import EMPTY_ROOT
from pipeline.core.note import COSIGNATURE_V1, VerifierKey
from pipeline.core.signing import Ed25519Signer
from pipeline.core.tlog_policy import Witnessed, check_note
from pipeline.core.witness import WitnessOutcome
from pipeline.services.witness_peer import Peer, prover
from tests.judges.ssh_agent import ssh_agent
from tests.support.tiles import VERIFIER, exported_files, write_log
from tests.support.witness import HonestWitness
from tests.support.witnessing import BRIEF_S, WitnessCase, export, policy_of, size_of, worker
from tests.support.world import secret
from tests.unit.test_serve import free_port

pytestmark = pytest.mark.judges

START_TIMEOUT_S = 20
SIZES = (1, 3, 255, 256, 257, 70_000)


class GoWitness:
    """The upstream witness with a folder of its own; runs while ``served``, any number of times."""

    name = "witness.example/go"

    def __init__(self, program: Path, folder: Path, log: VerifierKey) -> None:
        self._program = program
        self._folder = folder
        self._log = log
        self._signer = Ed25519Signer(secret(self.name), Use.NODE)
        self.key = VerifierKey(self.name, COSIGNATURE_V1, self._signer.public.raw)
        self.url = ""

    @property
    def line(self) -> str:
        """Its line in a policy, under its key's name."""
        return f"witness {self.name} {self.key} {self.url}\n"

    @asynccontextmanager
    async def served(self, *, knows_log: bool = True) -> AsyncIterator[None]:
        """Run it; it knows our log unless told otherwise."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        async with AsyncExitStack() as stack:
            # A socket's path may have some hundred bytes only.
            sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agent")))
            await stack.enter_async_context(ssh_agent(sockets / "agent", self._signer))
            process = await asyncio.create_subprocess_exec(
                self._program,
                *("-listen", f"127.0.0.1:{port}", "-db", "witness.db", "-name", self.name, "-obscurity"),
                *("-ssh-agent", sockets / "agent", "-key", sha256(self._signer.public.raw).hexdigest()),
                cwd=self._folder,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                await self._started(process, port)
                if knows_log:
                    self._add_log()
                yield
            finally:
                process.kill()
                await process.communicate()

    async def _started(self, process: asyncio.subprocess.Process, port: int) -> None:
        assert process.stderr is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            said = b""
            while b"listening" not in said:
                line = await process.stderr.readline()
                assert line, said
                said += line
            assert str(self.key).encode() in said
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    def _add_log(self) -> None:
        """Do in its database what its own tool does: a log of size zero, and its key."""
        with closing(sqlite3.connect(self._folder / "witness.db")) as database, database:
            row = (self._log.name, 0, b64encode(EMPTY_ROOT).decode())
            if database.execute("INSERT OR IGNORE INTO log VALUES (?, ?, ?)", row).rowcount:
                database.execute("INSERT INTO key VALUES (?, ?)", (self._log.name, str(self._log)))


@pytest.fixture(scope="module")
def case() -> WitnessCase:
    return WitnessCase(mldsa44=True)


@pytest.fixture
def witness(litewitness: Path, tmp_path: Path, case: WitnessCase) -> GoWitness:
    (tmp_path / "witness").mkdir()
    return GoWitness(litewitness, tmp_path / "witness", case.log)


async def test_every_checkpoint_is_published_under_a_policy_with_its_cosignature(
    case: WitnessCase, tmp_path: Path, witness: GoWitness
) -> None:
    async with witness.served():
        policy = policy_of(case.world, witness)
        for blocks in range(1, 7):
            await export(worker(case, tmp_path / "log", case.topic(blocks), policy))
            found = check_note(policy, exported_files(tmp_path / "log")["checkpoint"])
            assert isinstance(found, Witnessed)
            assert found.checkpoint.size == case.size(blocks)
            assert witness.name in [name for name, _ in found.cosigners]


async def test_trees_of_all_sizes_are_cosigned_in_turn(litewitness: Path, tmp_path: Path) -> None:
    client, log = HttpWitnessClient(), tmp_path / "log"
    (tmp_path / "witness").mkdir()
    witness = GoWitness(litewitness, tmp_path / "witness", VERIFIER)
    async with witness.served():
        peer = Peer(witness.url, witness.name, (witness.key,))
        for size in SIZES:
            root = write_log(log, size).frontier().root()
            files = TileFiles(log)
            checkpoint = Checkpoint(VERIFIER.name, size, root)
            answer = await peer.exchange(client, checkpoint, files.read_checkpoint(), prover(files.read))
            assert answer.outcome is WitnessOutcome.COSIGNED
            peer.size = size
        await client.close()


@pytest.mark.parametrize("seen", [3, 6], ids=["smaller", "same size"])
async def test_a_fork_is_refused_and_publication_stops(
    case: WitnessCase, tmp_path: Path, witness: GoWitness, seen: int
) -> None:
    second = HonestWitness(case.log, "w2.example/witness")
    async with second.served():
        async with witness.served():
            topic = case.topic(seen, case.other)
            await export(worker(case, tmp_path / "other", topic, policy_of(case.world, witness)))
        await export(worker(case, tmp_path / "log", case.topic(2), policy_of(case.world, second)))
        before = exported_files(tmp_path / "log")["checkpoint"]
        async with witness.served():
            policy = policy_of(case.world, witness, second)
            for _ in range(2):
                with pytest.raises(IntegrityError) as halted:
                    await export(worker(case, tmp_path / "log", case.topic(), policy))
                assert halted.value.code == "witness_fork"
    assert exported_files(tmp_path / "log")["checkpoint"] == before


async def test_a_rollback_is_refused_and_publication_stops(
    case: WitnessCase, tmp_path: Path, witness: GoWitness
) -> None:
    second = HonestWitness(case.log, "w2.example/witness")
    async with second.served():
        async with witness.served():
            policy = policy_of(case.world, witness)
            await export(worker(case, tmp_path / "whole", case.topic(), policy))
        await export(worker(case, tmp_path / "log", case.topic(2), policy_of(case.world, second)))
        before = exported_files(tmp_path / "log")["checkpoint"]
        async with witness.served():
            policy = policy_of(case.world, witness, second)
            with pytest.raises(IntegrityError) as halted:
                await export(worker(case, tmp_path / "log", case.topic(4), policy))
            assert halted.value.code == "witness_ahead"
            assert exported_files(tmp_path / "log")["checkpoint"] == before
            await export(worker(case, tmp_path / "log", case.topic(), policy))
    assert size_of(tmp_path / "log") == case.size(6)


async def test_a_log_that_it_does_not_know_is_not_published(
    case: WitnessCase, tmp_path: Path, witness: GoWitness
) -> None:
    async with witness.served(knows_log=False):
        with pytest.raises(TransientError, match=witness.name):
            policy = policy_of(case.world, witness)
            await export(worker(case, tmp_path / "log", case.topic(), policy, finish_s=BRIEF_S))
    assert size_of(tmp_path / "log") == 0
