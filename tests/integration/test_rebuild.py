"""``bkdms ledger rebuild`` gives back what was lost or damaged, from the blocks topic alone, and nothing else."""

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.folder_lock import lock_beside, lock_folder
from pipeline.adapters.keystore import save_key
from pipeline.adapters.sql.node_store import SqliteNodeStore
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.errors import IntegrityError
from pipeline.core.topics import Topics
from pipeline.ports import LedgerBlock, SignedBlock
from tests.support.commands import Ended, bkdms, redis_table, settings_file
from tests.support.forks import forked_block
from tests.support.nodes import ChainRig, chain_rig
from tests.support.outage_consumers import PlatformRig
from tests.support.world import TestSite, control_value, packet_value

pytestmark = [pytest.mark.stack, pytest.mark.faults]
BLOCKS = 3


@pytest.fixture(scope="module")
async def rig(
    stack: EmbeddedStack, unique_name: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ChainRig]:
    """A chain of some blocks with a store filled from it; all nodes are stopped, their folders kept."""
    topics = Topics(f"{unique_name('r')}.")
    stack.add_topics(topics)
    async with chain_rig(stack, topics, tmp_path_factory.mktemp("rebuild")) as opened:
        for name in opened.world.node_signers:
            opened.start_node(name)
        site = opened.site
        await opened.send([control_value(raw) for raw in opened.world.enrolment(site)])
        for height in range(1, BLOCKS):
            await opened.until_published(height)
            await opened.send([fresh_packet(site, value) for value in range(3)])
        await opened.until_published(BLOCKS)
        await opened.until(lambda: all(published(opened, name) == BLOCKS for name in opened.tasks))
        for name in list(opened.tasks):
            await opened.stop_node(name)
        platform = PlatformRig(
            opened.connection("platform", "p"), opened.world.genesis, topics, opened.folder
        )
        platform.give_key(site)
        await platform.start()
        await opened.until(lambda: platform.worker.caught_up and len(platform.packets()) == 3 * (BLOCKS - 1))
        await platform.close()
        yield opened


def fresh_packet(site: TestSite, value: int) -> bytes:
    return packet_value(site.packet([value], time_ms=SystemClock().now_ms()))


def published(rig: ChainRig, name: str) -> int:
    store = SqliteNodeStore(rig.folder / name, rig.world.genesis)
    found = store.load(rig.world.genesis).published
    store.close()
    return found


def rows(file: Path, *without: str) -> list[str]:
    """Return all rows of a SQLite file as statements, in their order, but for some tables."""
    connection = sqlite3.connect(file)
    try:
        return [line for line in connection.iterdump() if _is_row(line, without)]
    finally:
        connection.close()


def _is_row(line: str, without: tuple[str, ...]) -> bool:
    return line.startswith("INSERT") and not any(f'"{name}"' in line for name in without)


async def rebuild_redis(rig: ChainRig, folder: Path, user: str = "node") -> Ended:
    settings = settings_file(rig, folder / "redis", "node", redis=redis_table(rig, user))
    return await bkdms(settings, "ledger", "rebuild", "redis")


async def put(rig: ChainRig, *blocks: LedgerBlock, published: int = BLOCKS) -> None:
    """Put blocks into Redis as its administrator could."""
    ledger = rig.ledger()
    assert await ledger.replace(await ledger.head(), blocks, published)
    await ledger.close()


async def test_a_wiped_redis_gets_back_what_it_held(rig: ChainRig, tmp_path: Path) -> None:
    before = await rig.redis_content()
    await rig.wipe_redis()
    ended = await rebuild_redis(rig, tmp_path)
    assert (ended.code, "put right" in ended.err) == (0, True), ended.err
    assert await rig.redis_content() == before
    again = await rebuild_redis(rig, tmp_path)
    assert (again.code, "right before" in again.err) == (0, True)
    assert await rig.redis_content() == before


@pytest.mark.parametrize("what", ["head", "body", "old copy"])
async def test_what_no_quorum_certified_leaves_redis(rig: ChainRig, tmp_path: Path, what: str) -> None:
    before, blocks = await rig.redis_content(), await rig.blocks()
    if what == "head":
        await put(rig, LedgerBlock(99, bytes(32), b"header", b"no block"), published=98)
    elif what == "body":
        last = blocks[-1]
        await put(rig, LedgerBlock(last.height, last.block_hash, last.header, last.certified[:-1]))
    else:
        await put(rig, blocks[0], published=1)
    assert (await rebuild_redis(rig, tmp_path)).code == 0
    assert await rig.redis_content() == before


async def next_block(rig: ChainRig) -> Derived:
    """Derive the block after the published ones from the chain log, as a node would."""
    deriver, closed = Deriver(rig.world.state()), list[Derived]()
    for record in await rig.read(rig.topics.chain):
        closed += deriver.feed(LogRecord(record.offset, record.time_ms, record.value)).closed
    closed += deriver.close()
    return closed[BLOCKS]


async def test_a_block_that_is_committed_and_not_published_stays_in_redis(
    rig: ChainRig, tmp_path: Path
) -> None:
    before = await rig.redis_content()
    await rig.send([fresh_packet(rig.site, 7)])
    derived = await next_block(rig)
    certified, fourth = rig.world.certified(derived), derived.block
    block = LedgerBlock(BLOCKS + 1, fourth.hash, fourth.header_bytes, certified)
    await put(rig, *(await rig.blocks()), block)
    ended = await rebuild_redis(rig, tmp_path)
    assert (ended.code, "1 of it not published" in ended.err) == (0, True), ended.err
    held = await rig.redis_content()
    assert held["head"][b"height"] == b"4"
    assert held["bodies"][b"4"] == certified
    await put(rig, *(await rig.blocks()))
    assert (await rebuild_redis(rig, tmp_path)).code == 0
    assert await rig.redis_content() == before


async def test_a_fork_in_redis_is_not_overwritten(rig: ChainRig, tmp_path: Path) -> None:
    before, blocks = await rig.redis_content(), await rig.blocks()
    await put(rig, *blocks[:-1], forked_block(rig.world, blocks))
    forked = await rig.redis_content()
    ended = await rebuild_redis(rig, tmp_path)
    assert (ended.code, "bkdms verify" in ended.err) == (1, True), ended.err
    assert await rig.redis_content() == forked
    await put(rig, *blocks)
    assert (await rebuild_redis(rig, tmp_path)).code == 0
    assert await rig.redis_content() == before


async def test_a_user_who_may_not_write_to_redis_is_told_so(rig: ChainRig, tmp_path: Path) -> None:
    await rig.wipe_redis()
    ended = await rebuild_redis(rig, tmp_path, "reader")
    assert (ended.code, "redis.username" in ended.err, "Traceback" in ended.err) == (2, True, False), (
        ended.err
    )
    assert (await rebuild_redis(rig, tmp_path)).code == 0


@pytest.fixture
def node_folder(rig: ChainRig, tmp_path: Path) -> Path:
    """A copy of a stopped node's folder."""
    return Path(shutil.copytree(rig.folder / "node-1", tmp_path / "node"))


async def rebuild_node(rig: ChainRig, tmp_path: Path, folder: Path) -> Ended:
    node: dict[str, Any] = {"name": "node-1", "state_dir": folder}
    return await bkdms(settings_file(rig, tmp_path / "n", "node", node=node), "ledger", "rebuild", "node")


async def test_a_rebuilt_node_folder_is_that_of_the_node(
    rig: ChainRig, tmp_path: Path, node_folder: Path
) -> None:
    """State, blocks, progress and signing records; doing it again changes nothing."""
    file = node_folder / "node.sqlite"
    before = rows(file)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE chain_head SET height = 1, frontier = x'00'")
    connection.commit()
    connection.close()
    for _ in range(2):
        ended = await rebuild_node(rig, tmp_path, node_folder)
        assert ended.code == 0, ended.err
        assert rows(file) == before


async def test_a_node_folder_that_is_garbage_is_rebuilt_and_the_node_goes_on(
    rig: ChainRig, tmp_path: Path, node_folder: Path
) -> None:
    (node_folder / "node.sqlite").write_bytes(b"garbage" * 9999)
    ended = await rebuild_node(rig, tmp_path, node_folder)
    assert (ended.code, "nothing was taken over" in ended.err) == (0, True), ended.err
    rig.start_node("node-1", folder=node_folder)
    await rig.until(lambda: published_in(rig, node_folder) == BLOCKS)
    await rig.stop_node("node-1")


def published_in(rig: ChainRig, folder: Path) -> int:
    store = SqliteNodeStore(folder, rig.world.genesis)
    found = store.load(rig.world.genesis).published
    store.close()
    return found


async def test_what_a_node_signed_beyond_the_head_survives_its_rebuild(
    rig: ChainRig, tmp_path: Path, node_folder: Path
) -> None:
    store = SqliteNodeStore(node_folder, rig.world.genesis)
    store.record_signed([SignedBlock(BLOCKS + 1, bytes(32), b"message")])
    store.close()
    assert (await rebuild_node(rig, tmp_path, node_folder)).code == 0
    store = SqliteNodeStore(node_folder, rig.world.genesis)
    with pytest.raises(IntegrityError, match="signs no fork"):
        store.record_signed([SignedBlock(BLOCKS + 1, bytes(31) + b"1", b"message")])
    store.close()


async def test_a_running_node_keeps_its_folder(rig: ChainRig, tmp_path: Path, node_folder: Path) -> None:
    before = rows(node_folder / "node.sqlite")
    lock = lock_folder(node_folder)
    ended = await rebuild_node(rig, tmp_path, node_folder)
    os.close(lock)
    assert (ended.code, "stop it" in ended.err) == (2, True), ended.err
    assert rows(node_folder / "node.sqlite") == before


@pytest.fixture
def store_copy(rig: ChainRig, tmp_path: Path) -> Path:
    """A copy of the platform's store."""
    target = tmp_path / "platform" / "store.sqlite"
    target.parent.mkdir()
    shutil.copy(rig.folder / "platform" / "store.sqlite", target)
    return target


async def rebuild_store(rig: ChainRig, tmp_path: Path, *options: str, keys: Path | None = None) -> Ended:
    platform = {"keys_dir": keys or rig.folder / "keys"}
    settings = settings_file(rig, tmp_path, "platform", platform=platform)
    return await bkdms(settings, "ledger", "rebuild", "store", *options)


@pytest.mark.parametrize("damage", ["edited", "removed", "garbage", "wiped"])
async def test_a_rebuilt_store_has_the_same_rows(
    rig: ChainRig, tmp_path: Path, store_copy: Path, damage: str
) -> None:
    """What was published is known where the old store could be read, and published again otherwise."""
    before = rows(store_copy)
    connection = sqlite3.connect(store_copy)
    if damage == "edited":
        connection.execute("UPDATE observations SET value = 99")
        connection.execute("UPDATE blocks SET hash = x'00'")
    elif damage == "removed":
        connection.execute("DELETE FROM kpi_records")
    connection.commit()
    connection.close()
    if damage == "garbage":
        store_copy.write_bytes(b"garbage" * 9999)
    elif damage == "wiped":
        store_copy.unlink()
    for _ in range(2):
        ended = await rebuild_store(rig, tmp_path)
        assert ended.code == 0, ended.err
        without = () if damage in ("edited", "removed") else ("platform_position",)
        assert rows(store_copy, *without) == [line for line in before if _is_row(line, without)]


async def test_a_store_is_not_replaced_by_one_that_opens_less(
    rig: ChainRig, tmp_path: Path, store_copy: Path
) -> None:
    before, no_keys = rows(store_copy), tmp_path / "no-keys"
    no_keys.mkdir(mode=0o700)
    ended = await rebuild_store(rig, tmp_path, keys=no_keys)
    assert (ended.code, "6 packets" in ended.err) == (2, True), ended.err
    assert rows(store_copy) == before
    assert [path.name for path in store_copy.parent.iterdir() if "rebuilt" in path.name] == []
    ended = await rebuild_store(rig, tmp_path, "--lose-values", keys=no_keys)
    assert ended.code == 0, ended.err
    assert not any('INSERT INTO "observations"' in line for line in rows(store_copy))


async def test_a_store_in_use_is_left_alone(rig: ChainRig, tmp_path: Path, store_copy: Path) -> None:
    lock = lock_beside(store_copy)
    ended = await rebuild_store(rig, tmp_path)
    os.close(lock)
    assert (ended.code, "platform worker; stop it" in ended.err) == (2, True), ended.err


async def test_a_store_that_somebody_reads_is_left_alone(
    rig: ChainRig, tmp_path: Path, store_copy: Path
) -> None:
    """Its reader would find the new store's log beside the old file."""
    before, reader = rows(store_copy), sqlite3.connect(store_copy)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM blocks").fetchall()
    ended = await rebuild_store(rig, tmp_path)
    reader.close()
    assert (ended.code, "open in another program" in ended.err) == (1, True), ended.err
    assert rows(store_copy) == before


def exporter_settings(rig: ChainRig, tmp_path: Path) -> Path:
    key = tmp_path / "log.json"
    if not key.exists():
        save_key(key, rig.world.log_signer)
    return settings_file(rig, tmp_path, "exporter", export={"folder": tmp_path / "log", "key": key})


def log_files(tmp_path: Path) -> dict[str, bytes]:
    """Return every public file of the export; of the checkpoint, what is above the signatures."""
    found = {path.relative_to(tmp_path / "log"): path for path in (tmp_path / "log").rglob("*")}
    return {
        str(name): path.read_bytes()
        for name, path in found.items()
        if path.is_file() and name.parts[0] != ".state"
    }


async def test_damaged_tiles_are_written_again(rig: ChainRig, tmp_path: Path) -> None:
    """Any file changed, cut, lost or put there; the state too. The next rebuild changes nothing."""
    settings = exporter_settings(rig, tmp_path)
    assert (await bkdms(settings, "export", "tiles", str(tmp_path / "log"))).code == 0
    before = log_files(tmp_path)
    tiles = sorted(path for path in before if path.startswith("tile/"))
    for number, path in enumerate(tiles):
        target = tmp_path / "log" / path
        target.write_bytes(b"") if number % 2 else target.unlink()
    (tmp_path / "log" / "checkpoint").write_bytes(b"nonsense\n")
    (tmp_path / "log" / "tile" / "0" / "777").write_bytes(b"stray")
    (tmp_path / "log" / ".state" / "export.sqlite").write_bytes(b"garbage" * 999)
    for removed in ("1 files", "0 files"):
        ended = await bkdms(settings, "ledger", "rebuild", "tiles")
        assert (ended.code, removed in ended.err) == (0, True), ended.err
        assert log_files(tmp_path) == before
    audited = await bkdms(settings, "verify", "--tiles", str(tmp_path / "log"))
    assert audited.code == 0, audited


async def test_tiles_of_a_running_exporter_are_left_alone(rig: ChainRig, tmp_path: Path) -> None:
    settings = exporter_settings(rig, tmp_path)
    lock = lock_folder(tmp_path / "log" / ".state")
    ended = await bkdms(settings, "ledger", "rebuild", "tiles")
    os.close(lock)
    assert (ended.code, "exporter; stop it" in ended.err) == (2, True), ended.err
