"""Tessera's fsck, which we did not write, accepts our exports and refuses each damage to them.

This version of fsck ends with exit code 0 whatever it finds, so its word counts: it says that the log is good, of the
size that we wrote, and nothing of a failure; or it names a failure and does not say that the log is good.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from pipeline.core.policy_file import log_verifier
from pipeline.core.tiles import tiles_of
from pipeline.services.follower import follow_to_end
from tests.support.api import ApiCase
from tests.support.chain import Chain, MemoryTopic
from tests.support.tiles import VERIFIER, exporter, write_log
from tests.unit.test_serve import served

pytestmark = pytest.mark.judges

TIMEOUT_S = 60
WORKERS = 16
"""More than there are files in most logs here: fewer would wait for ever after a failure."""
SIZES = (1, 3, 255, 256, 257, 70_000)


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
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A log of each size: below, at and beyond a full tile, and one with a third level of tiles."""
    folders = {size: tmp_path_factory.mktemp(f"log-{size}") for size in SIZES}
    for size, folder in folders.items():
        write_log(folder, size)
    return folders


@contextmanager
def by_file(log: Path, _tmp: Path) -> Iterator[str]:
    """Give the URL of a log in the file system."""
    yield f"file://{log}/"


@contextmanager
def by_http(log: Path, tmp: Path) -> Iterator[str]:
    """Give the URL of a log that our API serves."""
    case = ApiCase(tmp / "api", Chain())
    case.parts.tiles = log
    with served(case) as port:
        yield f"http://127.0.0.1:{port}/tiles/"
    case.close()


Offer = Callable[[Path, Path], AbstractContextManager[str]]
offered = pytest.mark.parametrize("offer", [by_file, by_http])
sized = pytest.mark.parametrize("size", SIZES)


@contextmanager
def changed(path: Path, content: bytes | None) -> Iterator[None]:
    """Give a file other bytes, or take it away, for a while."""
    before = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(content: bytes, at: int) -> bytes:
    """Return the bytes with one bit flipped."""
    turned = bytearray(content)
    turned[at] ^= 1
    return bytes(turned)


def places(size: int) -> list[str]:
    """Return the first, last full and partial file of each level and of the bundles."""
    by_level: dict[int, list[str]] = {}
    for tile in tiles_of(size):
        by_level.setdefault(tile.level, []).append(tile.path)
    return [place for found in by_level.values() for place in dict.fromkeys([found[0], *found[-2:]])]


@offered
@sized
def test_a_log_is_accepted(
    fsck: Path, key: Path, logs: dict[int, Path], tmp_path: Path, offer: Offer, size: int
) -> None:
    with offer(logs[size], tmp_path) as url:
        assert verdict(fsck, url, key) == size


@offered
@sized
def test_a_flipped_bit_in_any_level_or_bundle_is_refused(
    fsck: Path, key: Path, logs: dict[int, Path], tmp_path: Path, offer: Offer, size: int
) -> None:
    with offer(logs[size], tmp_path) as url:
        for place in places(size):
            path = logs[size] / place
            # The first entry made up is empty, so that its bundle begins with a length.
            for at in (0, -1):
                with changed(path, flipped(path.read_bytes(), at)):
                    assert verdict(fsck, url, key) is None, place


@offered
@sized
def test_a_missing_file_is_refused(
    fsck: Path, key: Path, logs: dict[int, Path], tmp_path: Path, offer: Offer, size: int
) -> None:
    with offer(logs[size], tmp_path) as url:
        for place in ("checkpoint", *places(size)):
            with changed(logs[size] / place, None):
                assert verdict(fsck, url, key) is None, place


@offered
@sized
def test_a_flipped_bit_in_the_checkpoint_is_refused(
    fsck: Path, key: Path, logs: dict[int, Path], tmp_path: Path, offer: Offer, size: int
) -> None:
    path = logs[size] / "checkpoint"
    note = path.read_bytes()
    starts = {"origin": 0, "size": note.index(b"\n") + 1, "signature": len(note) - 20}
    starts["root"] = note.index(b"\n", starts["size"]) + 5
    with offer(logs[size], tmp_path) as url:
        for line, at in starts.items():
            with changed(path, flipped(note, at)):
                assert verdict(fsck, url, key) is None, line


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
