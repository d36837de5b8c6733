"""Tessera's fsck, which we did not write, accepts our exports and refuses each damage to them.

This version of fsck ends with exit code 0 whatever it finds, so its word counts: it says that the log is good, of the
size that we wrote, and nothing of a failure; or it names a failure and does not say that the log is good.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.policy_file import log_verifier
from pipeline.core.tiles import tiles_of
from pipeline.services.exporter import follow_to_end
from tests.support.api import ApiCase
from tests.support.chain import Chain, MemoryTopic
from tests.support.tiles import VERIFIER, exporter, write_log
from tests.unit.test_serve import served

pytestmark = pytest.mark.judges

TIMEOUT_S = 60
WORKERS = 16
"""More than there are files in most logs here: fewer would wait for ever after a failure."""
LARGE = 70_000


def verdict(fsck: Path, url: str, key: Path) -> int | None:
    """Return the size of the log that fsck calls good, or None where it names a failure."""
    ran = subprocess.run(
        [
            fsck,
            "--ui=false",
            "--logtostderr",
            f"--N={WORKERS}",
            f"--storage_url={url}",
            f"--public_key={key}",
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    good = re.search(r"Successfully fsck'd log with size (\d+) ", ran.stderr)
    bad = "fsck failed" in ran.stderr
    assert (good is None) == bad, ran.stderr
    assert bad or ran.returncode == 0
    return int(good[1]) if good is not None else None


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier key of the made-up log."""
    path = tmp_path_factory.mktemp("key") / "log.vkey"
    path.write_text(f"{VERIFIER}\n")
    return path


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 257 leaves: a full tile, a full bundle, a partial bundle, partial tiles of two levels."""
    folder = tmp_path_factory.mktemp("log")
    write_log(folder, 257)
    return folder


@pytest.fixture
def copied(log: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of that log to damage."""
    yield shutil.copytree(log, tmp_path / "log")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("size", [1, 3, 255, 256, 257])
def test_a_log_by_file_is_accepted(fsck: Path, key: Path, tmp_path: Path, size: int) -> None:
    write_log(tmp_path, size)
    assert verdict(fsck, f"file://{tmp_path}/", key) == size


@pytest.mark.parametrize("place", [tile.path for tile in tiles_of(257)])
@pytest.mark.parametrize("at", [0, -1])
def test_a_flipped_bit_is_refused(fsck: Path, key: Path, copied: Path, place: str, at: int) -> None:
    flip(copied / place, at)
    assert verdict(fsck, f"file://{copied}/", key) is None


@pytest.mark.parametrize("line", ["origin", "size", "root", "signature"])
def test_a_flipped_bit_in_the_checkpoint_is_refused(fsck: Path, key: Path, copied: Path, line: str) -> None:
    note = (copied / "checkpoint").read_bytes()
    starts = {"origin": 0, "size": note.index(b"\n") + 1, "signature": len(note) - 20}
    starts["root"] = note.index(b"\n", starts["size"]) + 5
    flip(copied / "checkpoint", starts[line])
    assert verdict(fsck, f"file://{copied}/", key) is None


@pytest.mark.parametrize("place", ["checkpoint", *(tile.path for tile in tiles_of(257))])
def test_a_missing_file_is_refused(fsck: Path, key: Path, copied: Path, place: str) -> None:
    (copied / place).unlink()
    assert verdict(fsck, f"file://{copied}/", key) is None


def test_a_large_log_is_accepted_and_a_flipped_bit_at_its_third_level_refused(
    fsck: Path, key: Path, tmp_path: Path
) -> None:
    write_log(tmp_path, LARGE)
    assert verdict(fsck, f"file://{tmp_path}/", key) == LARGE
    flip(tmp_path / "tile/2/000.p/1", 0)
    assert verdict(fsck, f"file://{tmp_path}/", key) is None


async def test_the_export_of_a_chain_is_accepted_by_file_and_by_http(fsck: Path, tmp_path: Path) -> None:
    chain = Chain()
    site = chain.world.site(1)
    chain.enrol(site)
    for _ in range(3):
        chain.packets(*(site.packet([1]) for _ in range(90)))
    topic = MemoryTopic()
    topic.publish(chain.certified)
    worker = exporter(tmp_path / "log", chain.world, topic)
    await follow_to_end(worker.follower)
    await worker.close()
    vkey = tmp_path / "log.vkey"
    vkey.write_text(f"{log_verifier(chain.world.genesis)}\n")
    size = chain.blocks[-1].block.header.tree_size
    assert verdict(fsck, f"file://{tmp_path}/log/", vkey) == size
    case = ApiCase(tmp_path / "api", chain)
    case.parts.tiles = tmp_path / "log"
    with served(case) as port:
        assert verdict(fsck, f"http://127.0.0.1:{port}/tiles/", vkey) == size
        (tmp_path / "log" / "tile/0/000").unlink()
        assert verdict(fsck, f"http://127.0.0.1:{port}/tiles/", vkey) is None
    case.close()
