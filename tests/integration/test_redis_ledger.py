"""The ledger in a real Redis: extended by one block or left alone, repaired only from what was seen."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.redis_ledger import RedisLedger
from pipeline.core.topics import Topics
from pipeline.ports import LedgerBlock, LedgerHead
from tests.support.nodes import ChainRig
from tests.support.world import World, secret

pytestmark = pytest.mark.stack
GENESIS = secret("genesis")


def block(height: int, label: str = "a") -> LedgerBlock:
    return LedgerBlock(height, secret(f"{label}{height}"), b"header", f"body {label}{height}".encode())


def before(height: int) -> bytes:
    return GENESIS if height == 1 else block(height - 1).block_hash


@pytest.fixture
async def ledger(stack: EmbeddedStack, tmp_path: Path) -> AsyncIterator[RedisLedger]:
    """A ledger of two blocks, of a chain of this test's own."""
    rig = ChainRig(stack, World(), Topics(), tmp_path)
    opened = RedisLedger(rig.redis(), secret(str(tmp_path)))
    assert await opened.extend(before(1), block(1))
    assert await opened.extend(before(2), block(2))
    yield opened
    await opened.close()
    await rig.close()


async def test_a_block_that_does_not_follow_the_head_changes_nothing(ledger: RedisLedger) -> None:
    for wrong in (block(1), block(2), block(4)):
        assert not await ledger.extend(block(2).block_hash, wrong)
    assert not await ledger.extend(secret("another predecessor"), block(3))
    assert await ledger.head() == LedgerHead(2, block(2).block_hash, 0)
    assert await ledger.certified(3) is None


async def test_an_empty_ledger_begins_with_block_1_only(stack: EmbeddedStack, tmp_path: Path) -> None:
    rig = ChainRig(stack, World(), Topics(), tmp_path)
    empty = RedisLedger(rig.redis(), secret(f"empty {tmp_path}"))
    assert not await empty.extend(before(2), block(2))
    assert await empty.head() is None
    await empty.close()
    await rig.close()


async def test_a_repair_that_saw_another_head_changes_nothing(ledger: RedisLedger) -> None:
    seen = await ledger.head()
    assert await ledger.extend(before(3), block(3))
    assert not await ledger.replace(seen, [block(1, "b")], 0)
    assert not await ledger.replace(None, [block(1, "b")], 0)
    assert await ledger.head() == LedgerHead(3, block(3).block_hash, 0)


async def test_a_repair_puts_consecutive_blocks_in_place(ledger: RedisLedger) -> None:
    assert await ledger.replace(await ledger.head(), [block(5, "b"), block(6, "b")], 4)
    assert await ledger.head() == LedgerHead(6, block(6, "b").block_hash, 4)
    assert await ledger.certified(5) == block(5, "b").certified
    assert await ledger.certified(1) is None


async def test_the_published_height_never_goes_back_and_old_bodies_go(ledger: RedisLedger) -> None:
    await ledger.mark_published(2, 2)
    await ledger.mark_published(1, 1)
    assert await ledger.head() == LedgerHead(2, block(2).block_hash, 2)
    assert await ledger.certified(1) is None
    assert await ledger.certified(2) == block(2).certified


async def test_the_lease_has_one_holder_until_it_is_given_back(ledger: RedisLedger) -> None:
    assert await ledger.acquire_lease("node-1", 60_000)
    assert not await ledger.acquire_lease("node-2", 60_000)
    await ledger.release_lease("node-2")
    assert await ledger.acquire_lease("node-1", 60_000)
    await ledger.release_lease("node-1")
    assert await ledger.acquire_lease("node-2", 60_000)
