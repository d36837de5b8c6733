"""Somebody who holds the servers of the ledger themselves: false heads, false blocks, false votes, forgotten ones."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from shutil import rmtree
from typing import Final

import pytest

from ops.tls.principal import Role
from pipeline.core.block import Block, certified_body, encode_certified, make_block, parse_certified
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.keys import Use
from pipeline.core.signing import Ed25519Signer
from pipeline.services.accounting.votes import Candidate, parse_vote, vote_message
from tests.security.attack import Attack, Run
from tests.security.ground import Ground
from tests.security.test_rights import redis_as
from tests.support.chain import framed
from tests.support.waiting import read_topic

pytestmark = [pytest.mark.stack, pytest.mark.security]
NODE: Final = "node-2"
FAR: Final = 1_000_000


def repairs(ground: Ground) -> float:
    """Return how often the nodes repaired Redis."""
    return sum(ground.metric(name, "bkdms_ledger_repairs_total") for name in ground.genesis.policy.node_names)


async def redis_head(ground: Ground) -> dict[bytes | str, bytes | str]:
    """Return the head as Redis has it."""
    client = redis_as(ground, "admin")
    try:
        found: dict[bytes | str, bytes | str] = await client.hgetall(head_key(ground))
    finally:
        await client.aclose()
    return found


def head_key(ground: Ground) -> str:
    return f"bkdms:{{{ground.genesis.chain.hex()}}}:head"


def hashes(ground: Ground) -> dict[int, bytes]:
    """Return the hashes of all published blocks by height."""
    parsed = (parse_certified(certified_body(value)) for value in ground.fates.blocks)
    return {block[0].header.height: block[0].hash for block in parsed if block is not None}


def in_redis(*command: str | bytes) -> Run:
    """Change the head with an administrator's password; see it put right."""

    async def run(ground: Ground) -> str:
        before, client = repairs(ground), redis_as(ground, "admin")
        key = head_key(ground)
        await client.execute_command(command[0], key, *command[1:])  # type: ignore[no-untyped-call]
        await client.aclose()
        await ground.until(lambda: repairs(ground) > before)
        for _ in range(100):
            head = await redis_head(ground)
            known = hashes(ground).get(int(head.get(b"height", b"0")))
            if head and known == head.get(b"hash"):
                return "repaired"
            await asyncio.sleep(0.1)
        return f"still {head}"

    return run


def last_block(ground: Ground) -> tuple[Block, bytes]:
    """Return the newest block and its certificate."""
    parsed = parse_certified(certified_body(ground.fates.blocks[-1]))
    assert parsed is not None
    return parsed


def altered(ground: Ground) -> bytes:
    """The newest block with another entry, and the certificate of the true one."""
    block, certificate = last_block(ground)
    entry = block.entries[0]
    spoilt = entry.payload[:-1] + bytes((entry.payload[-1] ^ 1,))
    entries = (replace(entry, payload=spoilt), *block.entries[1:])
    return framed(encode_certified(make_block(block.header, entries), certificate))


def uncertified(ground: Ground) -> bytes:
    """A next block of our own, with a certificate that nobody signed."""
    block, certificate = last_block(ground)
    header = replace(block.header, height=block.header.height + 1)
    return framed(encode_certified(make_block(header, block.entries), certificate))


def false_block(make: Callable[[Ground], bytes]) -> Run:
    """Put it on the topic with a stolen certificate of a node; see that the view passes over it and goes on."""

    async def run(ground: Ground) -> str:
        def passed_over() -> float:
            nodes = ground.genesis.policy.node_names
            at_nodes = sum(ground.metric(name, "bkdms_node_forged_blocks_total") for name in nodes)
            return at_nodes + ground.metric("platform", "bkdms_platform_skipped_records_total")

        before = passed_over()
        await ground.send(Role.NODE, "stolen", ground.topics.blocks, make(ground))
        await ground.until(lambda: passed_over() > before)
        height = ground.height()
        await ground.until(lambda: ground.metric("platform", "bkdms_platform_stored_height") > height)
        return "passed over"

    return run


def votes_of(ground: Ground, outcome: str) -> float:
    return sum(
        ground.metric(name, "bkdms_node_votes_total", outcome=outcome)
        for name in ground.genesis.policy.node_names
    )


async def vote_with_a_strangers_key(ground: Ground) -> str:
    before = votes_of(ground, "invalid")
    about = Candidate(FAR, bytes(32), Checkpoint(ground.genesis.origin, 3 * FAR, secrets.token_bytes(32)))
    signer = Ed25519Signer(secrets.token_bytes(32), Use.NODE)
    vote = vote_message(ground.genesis.chain, about, NODE, [signer], ground.now_ms() // 1000)
    await ground.send(Role.NODE, "stolen", ground.topics.cosignatures, vote)
    await ground.until(lambda: votes_of(ground, "invalid") > before)
    return "invalid"


async def wiped_node_asked_to_sign_a_fork(ground: Ground) -> str:
    """It signed another next block before its disk was lost; without the votes topic it would sign twice."""
    supervisor = ground.deployment.stack.supervisor
    log = ground.deployment.stack.log_dir / f"{NODE}.log"
    async with ground.quiet():
        height, starts = ground.height() + 1, log.read_text("utf-8").count("node_resumed")
        await asyncio.to_thread(supervisor.stop, NODE)
        rmtree(ground.deployment.data_dir / "nodes" / NODE)
        other = secrets.token_bytes(32)
        size = ground.tree_size() + 2
        about = Candidate(height, other, Checkpoint(ground.genesis.origin, size, other))
        signer = ground.node_signer(NODE)
        vote = vote_message(ground.genesis.chain, about, NODE, [signer], ground.now_ms() // 1000)
        await ground.send(Role.NODE, "stolen", ground.topics.cosignatures, vote)
        await asyncio.to_thread(supervisor.restart, NODE)
        await ground.until(lambda: log.read_text("utf-8").count("node_resumed") > starts)
    await ground.until(lambda: "second_signature" in log.read_text("utf-8"))
    await asyncio.to_thread(supervisor.stop, NODE)
    records = await read_topic(ground.connection(Role.AUDITOR, "attacks"), ground.topics.cosignatures)
    votes = [parse_vote(ground.genesis.chain, record.value) for record in records]
    signed = {vote.block_hash for vote in votes if vote and (vote.node, vote.height) == (NODE, height)}
    goes_on = await ground.until(lambda: ground.height() > height)
    return "signs no second block" if signed == {other} and goes_on else f"signed {len(signed)} blocks"


ATTACKS: Final = [
    Attack(
        "false head in Redis",
        "DST-8",
        "repaired",
        in_redis("HSET", "height", str(FAR), "hash", secrets.token_bytes(32), "published", str(FAR)),
    ),
    Attack("older head in Redis", "DST-8", "repaired", in_redis("HSET", "height", "1", "published", "1")),
    Attack("head removed from Redis", "DST-8", "repaired", in_redis("DEL")),
    Attack(
        "block with another packet under a true certificate", "DST-8", "passed over", false_block(altered)
    ),
    Attack("block that nobody certified", "DST-8", "passed over", false_block(uncertified)),
    Attack("vote with a stranger's key", "DST-8", "invalid", vote_with_a_strangers_key),
    Attack(
        "wiped node asked to sign a fork", "DST-8", "signs no second block", wiped_node_asked_to_sign_a_fork
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_ledger_that_somebody_tampers_with(
    attack: Attack, see: Callable[[Attack], Awaitable[str]]
) -> None:
    assert await see(attack) == attack.expected
