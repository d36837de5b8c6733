"""``bkdms verify --trusted``: a history rewritten with all keys is good by itself; older statements tell it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.block_folder import block_file
from pipeline.services.follower import follow_to_end
from tests.support import command_line
from tests.support.chain import MemoryTopic
from tests.support.histories import History, rewritten
from tests.support.tiles import exporter

TRUE, FALSE = rewritten()
ANCHORS: dict[str, Callable[[], bytes]] = {
    "checkpoint": lambda: TRUE.checkpoint(9),
    "checkpoint of the log": lambda: TRUE.log_checkpoint(9),
    "proof": lambda: TRUE.proof(7, 1, 12),
    "proof of an earlier entry": lambda: TRUE.proof(3, 0, 12),
    "receipt": lambda: TRUE.receipt(9, 0, 9),
    "receipt without packet": lambda: TRUE.receipt(9, 0, 9, packet=False),
}
NAMED = {
    "checkpoint": (0, 28),
    "checkpoint of the log": (0, 28),
    "proof": (21, 21),
    "proof of an earlier entry": (16, 31),
    "receipt": (16, 23),
    "receipt without packet": (16, 23),
}


async def exported(folder: Path, history: History, count: int) -> list[str]:
    """Write blocks and tiles of a history; return the folders' options."""
    blocks, tiles = folder / "blocks", folder / "tiles"
    blocks.mkdir(parents=True)
    certified = history.chain.certified[:count]
    for height, data in enumerate(certified, 1):
        block_file(blocks, height).write_bytes(data)
    topic = MemoryTopic()
    topic.publish(certified)
    worker = exporter(tiles, history.world, topic)
    await follow_to_end(worker.follower)
    await worker.close()
    return [f"--blocks={blocks}", f"--tiles={tiles}"]


@pytest.fixture(scope="module")
async def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The true and the rewritten history, and the true one cut before block 9."""
    folder = tmp_path_factory.mktemp("histories")
    return {
        "true": await exported(folder / "true", TRUE, 12),
        "false": await exported(folder / "false", FALSE, 12),
        "cut": await exported(folder / "cut", TRUE, 8),
    }


class Auditing:
    """Runs the command on one of the sources."""

    def __init__(
        self, folder: Path, sources: dict[str, list[str]], capsys: pytest.CaptureFixture[str], number: int
    ) -> None:
        self.folder = folder
        self._sources = sources
        self._number = number
        self._capsys = capsys
        self.genesis = self.write("genesis.json", TRUE.world.genesis.raw)

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def run(self, history: str, *trusted: Path, more: Sequence[str] = ()) -> tuple[int, str, str]:
        source = self._sources[history][self._number]
        words = [f"--trusted={path}" for path in trusted]
        code = command_line.run("verify", source, f"--genesis={self.genesis}", *words, *more)
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def json(self, history: str, *trusted: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(history, *trusted, more=["--json"])[1])
        return found


@pytest.fixture(params=["blocks", "tiles"])
def auditing(
    tmp_path: Path,
    sources: dict[str, list[str]],
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Auditing:
    return Auditing(tmp_path, sources, capsys, ["blocks", "tiles"].index(request.param))


def test_the_rewritten_history_is_good_by_itself_and_the_report_says_what_that_does_not_exclude(
    auditing: Auditing,
) -> None:
    code, out, err = auditing.run("false")
    assert code == 0
    assert out.startswith("good")
    assert "can't be excluded" in err


@pytest.mark.parametrize("kind", ANCHORS)
def test_each_kind_of_anchor_tells_the_rewritten_history_and_names_where_it_parts(
    auditing: Auditing, kind: str
) -> None:
    kept = auditing.write("kept", ANCHORS[kind]())
    code, out, _ = auditing.run("false", kept)
    assert code == 1
    assert out.startswith(f"BAD  {kept}: block ")
    value = auditing.json("false", kept)
    assert value["finding"]["reason"] == "rewritten"
    found = value["divergence"]
    assert (found["first"]["leaf"], found["last"]["leaf"]) == NAMED[kind]
    assert found["first"]["leaf"] <= 21 <= found["last"]["leaf"]


def test_anchors_that_agree_say_up_to_where_a_rewriting_is_excluded(auditing: Auditing) -> None:
    kept = [auditing.write(f"kept-{i}", make()) for i, make in enumerate(ANCHORS.values())]
    code, out, err = auditing.run("true", *kept)
    assert code == 0, out
    assert f"agrees with {kept[0]}: checkpoint of 29 leaves" in out
    assert "can't be excluded" not in err
    value = auditing.json("true", *kept)
    assert [item["agrees"] for item in value["anchors"]] == [True] * len(kept)
    assert (value["agreed_leaves"], value["not_excluded"]) == (38, None)


def test_what_comes_after_the_anchor_stays_unconfirmed_and_is_said_so(auditing: Auditing) -> None:
    kept = auditing.write("kept", TRUE.checkpoint(6))
    code, _, err = auditing.run("false", kept)
    assert code == 0
    assert "after leaf 19 can't be excluded" in err


def test_a_chain_that_ends_before_the_anchor_is_found(auditing: Auditing) -> None:
    kept = auditing.write("kept", TRUE.checkpoint(9))
    code, out, _ = auditing.run("cut", kept)
    assert code == 1
    assert "block 9: cut: the chain ends at a tree of 26 leaves, before the 29 leaves" in out


def test_two_anchors_of_different_histories_are_called_that(auditing: Auditing) -> None:
    kept = [auditing.write("a", TRUE.checkpoint(9)), auditing.write("b", FALSE.checkpoint(12))]
    code, out, _ = auditing.run("false", *kept)
    assert code == 1
    assert "no history agrees with all anchors" in out


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no checkpoint signed for this chain"),
        (b"{}", "no site head"),
        (b"c2sp.org/tlog-proof@v1\n", "no tlog-proof"),
        (TRUE.checkpoint(9, ["node-0", "node-1"]), "signed neither by the log nor by a quorum"),
    ],
)
def test_an_anchor_that_is_none_is_an_error_of_use(auditing: Auditing, data: bytes, said: str) -> None:
    kept = auditing.write("kept", data)
    code, out, err = auditing.run("true", kept)
    assert (code, out) == (2, "")
    assert said in err
    assert str(kept) in err
    assert "Traceback" not in err


def test_an_anchor_that_is_not_there_is_an_error_of_use(auditing: Auditing) -> None:
    code, _, err = auditing.run("true", auditing.folder / "nothing")
    assert code == 2
    assert "can't be read" in err


def test_an_audit_that_is_taken_up_again_knows_its_anchors(auditing: Auditing) -> None:
    """All blocks were audited by the first run; the second one has only what the file holds."""
    kept = auditing.write("kept", TRUE.proof(7, 1, 12))
    resume = f"--resume={auditing.folder / 'progress'}"
    assert auditing.run("false", kept, more=[resume])[0] == 1
    code, out, err = auditing.run("false", kept, more=[resume])
    assert code == 1
    assert "leaf 21 (block 7, entry 1) is the first that differs" in out
    other = auditing.write("other", TRUE.checkpoint(9))
    code, _, err = auditing.run("false", other, more=[resume])
    assert code == 2
    assert "other trusted files" in err
