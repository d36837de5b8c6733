"""Faults of those who hold a key, a certificate or a server of the ledger: lies, forgeries, repeats."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from ops.kafka.broker import ADMIN
from ops.tls.principal import Role
from pipeline.adapters.kafka import KafkaTrimmer
from pipeline.apps.chaos.stand import Stand, in_loop, until
from pipeline.apps.demo.liar import Liar
from pipeline.config import load_settings
from pipeline.core import avro
from pipeline.core.block import (
    CERTIFIED_BLOCK,
    Block,
    certified_body,
    encode_certified,
    make_block,
    parse_certified,
)
from pipeline.core.errors import TransientError
from pipeline.core.keys import Algorithm, Use
from pipeline.ports import Received

_REPEATED: Final = 40
_LOOK_BACK: Final = 60
_FAR: Final = 1_000_000
_KILLED: Final = 0.5
_BLOCK_S: Final = 60.0


@contextmanager
def repeated(stand: Stand, dice: Random) -> Iterator[str]:
    """Send the last records of the chain log again, shuffled, as a broken validator would."""
    records = stand.read(stand.topics.chain, 0)[-_REPEATED:]
    dice.shuffle(records)
    stand.send(Role.VALIDATOR, stand.topics.chain, [record.value for record in records])
    yield f"{len(records)} records"


@contextmanager
def forged_head(stand: Stand, dice: Random) -> Iterator[str]:
    """Put a hash and a height into Redis that nobody certified."""
    with stand.redis() as client:
        height = dice.choice((1, _FAR))
        client.hset(stand.head_key, mapping={"height": str(height), "hash": dice.randbytes(32)})
    yield f"height {height}"


@contextmanager
def forged_block(stand: Stand, _: Random) -> Iterator[str]:
    """Put an altered block and one without a certificate on the blocks topic, with a stolen certificate of a node."""
    block, certificate = _last_block(stand)
    entry = block.entries[0]
    spoilt = entry.payload[:-1] + bytes((entry.payload[-1] ^ 1,))
    altered = make_block(block.header, (replace(entry, payload=spoilt), *block.entries[1:]))
    following = make_block(replace(block.header, height=block.header.height + 1), block.entries)
    values = [
        avro.frame(CERTIFIED_BLOCK, encode_certified(false, certificate)) for false in (altered, following)
    ]
    stand.send(Role.NODE, stand.topics.blocks, values)
    yield f"beside block {block.header.height}"


@contextmanager
def lying_node(stand: Stand, dice: Random) -> Iterator[str]:
    """Let somebody with a node's key and certificate answer each vote with one for another root."""
    name = dice.choice(stand.names("node"))
    stand.end(name)
    deployment = stand.deployment
    signer = deployment.keys.signer(deployment.chain.node_key(name), Use.NODE)
    liar = Liar(stand.genesis, stand.topics, stand.connection(Role.NODE, name), name, signer)
    loop = asyncio.new_event_loop()
    task = loop.create_task(liar.run())
    thread = threading.Thread(target=loop.run_until_complete, args=(task,), daemon=True)
    thread.start()
    try:
        yield name
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
        stand.restart(name)


@contextmanager
def wrong_key(stand: Stand, dice: Random) -> Iterator[str]:
    """Start a node with a new key in the place of its own: it must refuse to work.

    Raises:
        TransientError: on leaving; the node works with a key that no policy names.
    """
    name = dice.choice(stand.names("node"))
    settings = load_settings(stand.deployment.data_dir / "settings" / f"{name}.toml")
    key, own = settings.node_key, settings.node_key.with_suffix(".own")
    stand.end(name)
    key.rename(own)
    stand.deployment.keys.signer_or_new(key, Use.NODE, Algorithm.ED25519)
    log = stand.deployment.stack.log_dir / f"{name}.log"
    before = _starts(log)
    stand.restart(name)
    try:
        yield name
    finally:
        has_worked = _starts(log) > before
        stand.kill(name)
        own.replace(key)
        stand.restart(name)
    if has_worked:
        raise TransientError(f"{name} worked with a key that no policy names", code="chaos")


@contextmanager
def log_cut(stand: Stand, dice: Random) -> Iterator[str]:
    """Remove from the chain log what a node that is behind has not derived: it must catch up from the blocks.

    The others have derived it, certified and published: to them it is ordinary trimming.

    Raises:
        TransientError: on entering; the others make no more blocks.
    """
    name, is_killed = dice.choice(stand.names("node")), dice.random() < _KILLED
    if is_killed:
        stand.kill(name)
    else:
        stand.signal(name, signal.SIGSTOP)
    try:
        # What it had derived ends before the end of the log as it is now.
        end = stand.end_of(stand.genesis.topic)
        until("the other nodes go on without it", lambda: _last_source(stand) > end, _BLOCK_S)
        first = _last_source(stand)
        trimmer = KafkaTrimmer(stand.connection(ADMIN.role, ADMIN.name))
        in_loop(trimmer.trim(stand.genesis.topic, stand.genesis.partition, first))
        yield f"{name} {'killed' if is_killed else 'stopped'}, log cut to {first}"
    finally:
        if is_killed:
            stand.restart(name)
        else:
            stand.signal(name, signal.SIGCONT)


def _last_source(stand: Stand) -> int:
    """Return where in the chain log the newest published block begins."""
    return _last_block(stand)[0].header.source.first


def _starts(log: Path) -> int:
    return log.read_text("utf-8").count("node_resumed")


def _last_block(stand: Stand) -> tuple[Block, bytes]:
    """Return the newest block on the topic and its certificate."""
    records = stand.read(stand.topics.blocks, max(0, stand.end_of(stand.topics.blocks) - _LOOK_BACK))
    for record in reversed(records):
        parsed = _parsed(record)
        if parsed is not None:
            return parsed
    raise TransientError("the end of the blocks topic has no block", code="chaos")


def _parsed(record: Received) -> tuple[Block, bytes] | None:
    return parse_certified(certified_body(record.value))
