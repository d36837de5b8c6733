"""When witnesses are asked again, and for how long one may be ahead, by a clock of the test's own."""

import asyncio
from collections.abc import Collection

import pytest

from pipeline.core.checkpoint import Checkpoint, assemble_certificate, cosign, sign_as_log
from pipeline.core.errors import IntegrityError
from pipeline.core.policy_file import log_verifier
from pipeline.core.tiles import Edge
from pipeline.services import witnessing
from pipeline.services.witnessing import Candidate, Pace, Witnessing
from tests.support.tiles import entries
from tests.support.witness import HonestWitness
from tests.support.witnessing import policy_of
from tests.support.world import World

WORLD = World()
WITNESS = HonestWitness(log_verifier(WORLD.genesis), url="https://w1.example/")


def candidate(size: int, root: bytes = bytes(range(32))) -> Candidate:
    checkpoint = Checkpoint(WORLD.genesis.origin, size, root)
    return Candidate(
        checkpoint, assemble_certificate(checkpoint, [], sign_as_log(checkpoint, WORLD.log_signer))
    )


class Answering:
    """A client whose witness gives one answer; ``asked`` are the first lines of requests."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        self.status = status
        self.body = body
        self.asked: list[bytes] = []

    async def add_checkpoint(self, url: str, request: bytes) -> tuple[int, bytes]:
        assert url == WITNESS.url
        self.asked.append(request.partition(b"\n")[0])
        return self.status, self.body

    async def close(self) -> None:
        """Nothing is open."""


class Accusers:
    """Remembers in memory."""

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()

    def accusers(self) -> frozenset[str]:
        return self.names

    def save_accusers(self, names: Collection[str]) -> None:
        self.names = frozenset(names)


class Clock:
    """Says what the test set."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(witnessing, "_now", lambda: found.now)
    return found


def made(client: Answering, accusers: Accusers) -> Witnessing:
    return Witnessing(WITNESS.log, policy_of(WORLD, WITNESS), client, lambda _path: b"", accusers)


async def test_who_fails_is_asked_again_after_longer_and_longer_pauses(clock: Clock) -> None:
    client = Answering(500)
    found, times = made(client, Accusers()), []
    for second in range(200):
        clock.now, before = float(second), len(client.asked)
        assert await found.step(candidate(5), at_end=True) is None
        if len(client.asked) > before:
            times.append(second)
    assert times == [0, 1, 3, 7, 15, 31, 63, 123, 183]


async def test_a_round_a_second_is_enough(clock: Clock) -> None:
    one = candidate(5)
    cosignature = cosign(one.checkpoint, "node-0", WORLD.node_signers["node-0"], 1)
    log_signature = sign_as_log(one.checkpoint, WORLD.log_signer)
    other = Candidate(one.checkpoint, assemble_certificate(one.checkpoint, [cosignature], log_signature))
    client = Answering(200, WITNESS.cosigned(one.checkpoint))
    found = made(client, Accusers())
    for tenth in range(25):
        clock.now = tenth / 10
        await found.step((one, other, one)[tenth % 3], at_end=True)
    assert client.asked == [b"old 0", b"old 5", b"old 5"]


async def test_a_larger_tree_at_a_witness_halts_when_the_topic_has_long_ended_before_it(clock: Clock) -> None:
    accusers = Accusers()
    found = made(Answering(409, b"9\n"), accusers)
    for clock.now, size, at_end in ((0, 5, False), (100, 6, False), (101, 6, True), (109, 7, True)):
        assert await found.step(candidate(size), at_end=at_end) is None
    assert accusers.names == frozenset()
    clock.now = 111
    with pytest.raises(IntegrityError, match="9 leaves") as halted:
        await found.step(candidate(7), at_end=True)
    assert halted.value.code == "witness_ahead"
    assert accusers.names == {str(WITNESS.key)}


async def test_a_witness_that_was_ahead_is_asked_as_soon_as_it_is_not(clock: Clock) -> None:
    client = Answering(409, b"9\n")
    found = made(client, Accusers())
    for clock.now in (0, 1, 3, 7):
        await found.step(candidate(5), at_end=False)
    assert client.asked == [b"old 0"] * 4
    client.status, client.body, clock.now = 500, b"", 8
    await found.step(candidate(9), at_end=False)
    assert client.asked[4:] == [b"old 9"]


async def test_who_cosigns_accuses_no_more(clock: Clock) -> None:
    accusers = Accusers()
    accusers.names = frozenset({str(WITNESS.key), "another"})
    one = candidate(5)
    found = made(Answering(200, WITNESS.cosigned(one.checkpoint)), accusers)
    await found.step(one, at_end=True)
    assert accusers.names == {"another"}


class Slow(Answering):
    """A client whose first answer comes when it may."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.may_answer = asyncio.Event()

    async def add_checkpoint(self, url: str, request: bytes) -> tuple[int, bytes]:
        answer = await super().add_checkpoint(url, request)
        await self.may_answer.wait()
        return answer


async def test_a_late_cosignature_on_an_older_checkpoint_does_not_stand_for_the_newer_one() -> None:
    leaves = entries(6)
    trees = [Edge.EMPTY.grow(leaves[:size])[0] for size in (5, 6)]
    files = {tile.path: content for tile, content in trees[1].partials()}
    older, newer = (candidate(tree.size, tree.frontier().root()) for tree in trees)
    client = Slow(200, WITNESS.cosigned(older.checkpoint))
    pace = Pace(between=0.0, longest=0.01, first_pause=0.0)
    policy = policy_of(WORLD, WITNESS)
    found = Witnessing(WITNESS.log, policy, client, lambda path: files.get(path, b""), Accusers(), pace=pace)
    assert await found.step(older, at_end=True) is None
    client.may_answer.set()
    while len(client.asked) < 2:
        client.body = WITNESS.cosigned(newer.checkpoint)
        await found.step(newer, at_end=True)
    assert client.asked == [b"old 0", b"old 5"]
    await found.close()
