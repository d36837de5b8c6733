"""The ledger that simulations use does what a real Redis does, call by call."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ops.stack import EmbeddedStack
from pipeline.adapters.redis_ledger import RedisLedger
from pipeline.core.topics import Topics
from pipeline.ports import Ledger, LedgerBlock, LedgerHead
from tests.support.nodes import ChainRig
from tests.support.simulated_redis import LedgerKeys, SimulatedLedger
from tests.support.world import World, secret
from tests.support.write_faults import Process

pytestmark = pytest.mark.stack
CALLS = 120


def block(height: int, label: str) -> LedgerBlock:
    return LedgerBlock(height, secret(f"{label}{height}"), b"header", f"body {label}{height}".encode())


def next_call(dice: random.Random, head: LedgerHead | None) -> Callable[[Ledger], Awaitable[object]]:
    """Return a call that may fit the head or not."""
    height, label = max(1, (head.height if head else 0) + dice.randint(-2, 2)), dice.choice("ab")
    previous = head.block_hash if head and dice.random() < 0.8 else secret("elsewhere")
    other = LedgerHead(height, secret(f"{label}{height}"), 0)
    seen = dice.choice([head, head, None, other])
    several = [block(height + i, label) for i in range(dice.randint(1, 3))]
    owner, published = dice.choice(["node-0", "node-1"]), dice.randint(0, height)
    calls: list[Callable[[Ledger], Awaitable[object]]] = [
        lambda ledger: ledger.extend(previous, block(head.height + 1 if head else 1, label)),
        lambda ledger: ledger.extend(previous, block(height, label)),
        lambda ledger: ledger.replace(seen, several, published),
        lambda ledger: ledger.certified(height),
        lambda ledger: ledger.mark_published(published, height - 1),
        lambda ledger: ledger.acquire_lease(owner, 60_000),
        lambda ledger: ledger.release_lease(owner),
    ]
    return dice.choices(calls, [6, 2, 1, 3, 2, 1, 1])[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_both_ledgers_answer_every_call_alike(stack: EmbeddedStack, tmp_path: Path, seed: int) -> None:
    dice, rig = random.Random(seed), ChainRig(stack, World(), Topics(), tmp_path)
    real = RedisLedger(rig.redis(), secret(f"{tmp_path}{seed}"))
    simulated = SimulatedLedger(LedgerKeys(), Process(), lambda: 0.0)
    try:
        for _ in range(CALLS):
            head = await real.head()
            assert await simulated.head() == head
            call = next_call(dice, head)
            assert await call(simulated) == await call(real)
    finally:
        await real.close()
        await rig.close()
