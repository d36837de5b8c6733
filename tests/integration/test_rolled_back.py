"""Stores of consumers that are restored from old copies, in whole or in part, or wiped, end as if nothing had been."""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.keystore import save_key
from pipeline.apps.workers.export import export_worker
from pipeline.config import load_settings
from pipeline.core.topics import Topics
from tests.support.commands import settings_file
from tests.support.nodes import ChainRig, chain_rig
from tests.support.outage_consumers import PlatformRig, ViewRig
from tests.support.world import control_value, packet_value

pytestmark = [pytest.mark.stack, pytest.mark.faults]
BLOCKS = 4


class Consumers:
    """One chain that grows by a block when asked; all nodes run."""

    def __init__(self, rig: ChainRig) -> None:
        self.rig = rig
        self.height = 0

    async def grow(self, height: int) -> None:
        """Let the chain reach a height."""
        rig = self.rig
        while self.height < height:
            self.height += 1
            if self.height == 1:
                await rig.send([control_value(raw) for raw in rig.world.enrolment(rig.site)])
            else:
                now_ms = SystemClock().now_ms()
                await rig.send([packet_value(rig.site.packet([i], time_ms=now_ms)) for i in range(3)])
            await rig.until_published(self.height)

    async def platform(self, folder: Path) -> None:
        """Run the platform worker until its store holds everything published."""
        platform = PlatformRig(
            self.rig.connection("platform", "p"), self.rig.world.genesis, self.rig.topics, folder
        )
        platform.give_key(self.rig.site)
        await platform.start()
        await self.rig.until(
            lambda: platform.worker.follower.height == self.height and platform.worker.caught_up
        )
        await platform.close()

    async def view(self, folder: Path) -> None:
        """Run the API's view until it holds everything published."""
        view = ViewRig(self.rig.connection("api", "v"), self.rig.world.genesis, self.rig.topics, folder)
        view.start()
        await self.rig.until(lambda: view.follower.height == self.height)
        await view.close()

    async def export(self, folder: Path) -> None:
        """Export everything published."""
        key = folder / "log.json"
        if not key.exists():
            save_key(key, self.rig.world.log_signer)
        settings = load_settings(settings_file(self.rig, folder, "exporter", export={"key": key}))
        connection = self.rig.connection("exporter", "e")
        worker = export_worker(settings, self.rig.world.genesis, connection, folder / "log")
        await worker.finish()
        await worker.close()


@pytest.fixture(scope="module")
async def consumers(
    stack: EmbeddedStack, unique_name: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Consumers]:
    """A chain with a running quorum of nodes."""
    topics = Topics(f"{unique_name('b')}.")
    stack.add_topics(topics)
    async with chain_rig(stack, topics, tmp_path_factory.mktemp("rolled-back")) as rig:
        for name in list(rig.world.node_signers)[:3]:
            rig.start_node(name)
        made = Consumers(rig)
        await made.grow(BLOCKS - 2)
        yield made


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Folders of a consumer: the one to be spoilt, its old copy, and one that nothing happens to."""
    spoilt, copy, whole = tmp_path / "spoilt", tmp_path / "copy", tmp_path / "whole"
    spoilt.mkdir()
    whole.mkdir()
    return spoilt, copy, whole


def rows(file: Path) -> list[str]:
    """Return all rows of a database as statements."""
    connection = sqlite3.connect(file)
    try:
        return [line for line in connection.iterdump() if line.startswith("INSERT")]
    finally:
        connection.close()


def files(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder but hidden ones."""
    found = (path for path in folder.rglob("*") if path.is_file())
    places = {str(path.relative_to(folder)): path for path in found}
    return {place: path.read_bytes() for place, path in places.items() if not place.startswith(".")}


def spoil(spoilt: Path, copy: Path, part: str) -> None:
    """Put the old copy of a part of a folder in its place; ``wiped PART`` takes it away."""
    what = part.removeprefix("wiped").strip()
    target = spoilt / what
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    if part.startswith("wiped"):
        return
    if (copy / what).is_dir():
        shutil.copytree(copy / what, target)
    else:
        shutil.copy(copy / what, target)


async def test_the_platforms_store(consumers: Consumers, folders: tuple[Path, Path, Path]) -> None:
    """Values are published again, under the same tracing codes; the rows are those of a store never touched."""
    spoilt, copy, whole = folders
    await consumers.platform(spoilt)
    shutil.copytree(spoilt, copy)
    await consumers.grow(BLOCKS)
    await consumers.platform(spoilt)
    await consumers.platform(whole)
    for part in ("platform", "wiped platform"):
        spoil(spoilt, copy, part)
        await consumers.platform(spoilt)
        assert rows(spoilt / "platform" / "store.sqlite") == rows(whole / "platform" / "store.sqlite"), part


async def test_the_apis_view(consumers: Consumers, folders: tuple[Path, Path, Path]) -> None:
    """Rows and hash files are restored together or apart."""
    spoilt, copy, whole = folders
    await consumers.view(spoilt)
    shutil.copytree(spoilt, copy)
    await consumers.grow(consumers.height + 1)
    await consumers.view(spoilt)
    await consumers.view(whole)
    expected = rows(whole / "api" / "view.sqlite"), files(whole / "api" / "tree")
    for part in (
        "api",
        "api/view.sqlite",
        "api/tree",
        "wiped api",
        "wiped api/view.sqlite",
        "wiped api/tree",
    ):
        spoil(spoilt, copy, part)
        await consumers.view(spoilt)
        assert (rows(spoilt / "api" / "view.sqlite"), files(spoilt / "api" / "tree")) == expected, part


async def test_the_exported_tiles(consumers: Consumers, folders: tuple[Path, Path, Path]) -> None:
    """State, tiles and checkpoint are restored together or apart; the folder is that of an export never touched."""
    spoilt, copy, whole = folders
    await consumers.export(spoilt)
    shutil.copytree(spoilt, copy)
    await consumers.grow(consumers.height + 1)
    await consumers.export(spoilt)
    await consumers.export(whole)
    expected = files(whole / "log")
    parts = ("log", "log/.state", "log/tile", "log/checkpoint")
    for part in (*parts, *(f"wiped {part}" for part in parts)):
        spoil(spoilt, copy, part)
        await consumers.export(spoilt)
        held = files(spoilt / "log")
        assert held["checkpoint"] == expected["checkpoint"], part
        assert {path: held.get(path) for path in expected} == expected, part
