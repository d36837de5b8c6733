"""Everything that follows from one chain log, by the real code, as digests.

``python -m tests.determinism.derive`` prints them as JSON: the same bytes under every Python, hash seed, time zone
and locale. ``python -m tests.determinism.derive --write`` stores them as the golden ones.
"""

import json
import locale
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from pipeline.adapters.block_container import BlockContainer
from pipeline.core.block import encode_certified
from pipeline.core.derive import Derived, Deriver, LogRecord
from pipeline.core.genesis import Genesis, parse_genesis
from pipeline.core.keys import Use
from pipeline.core.names import SiteName
from pipeline.core.sealing import SEALING_ALGORITHM, SealingKey, Suite
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import ChainState
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing
from pipeline.services.accounting.publication import publication
from pipeline.services.accounting.startup import ledger_block
from pipeline.services.follower import Follower, follow_to_end
from pipeline.services.site_heads import site_head
from tests.support.chain import MemoryReader, MemoryTopic
from tests.support.simulated_consumers import (
    ExportConsumer,
    PlatformConsumer,
    ViewConsumer,
    platform_rows,
    view_content,
)
from tests.support.simulated_nodes import scratch_folder
from tests.support.simulated_time import SimulatedLoop
from tests.support.tiles import exported_files
from tests.support.world import World
from tests.vectors import core_world
from tests.vectors.generate_certificate import line
from tests.vectors.plain_core import u64
from tests.vectors.plain_log import log

GOLDEN = core_world.FOLDER / "derived_chain.json"
Digests = dict[str, str]


@dataclass
class VectorWorld:
    """What consumers need of the chain of the golden vectors."""

    genesis: Genesis
    log_signer: Ed25519Signer


def digest(value: object) -> str:
    """Return the digest of bytes, or of any value's text."""
    return sha256(value if isinstance(value, bytes) else repr(value).encode()).hexdigest()


def certificate(body: bytes) -> bytes:
    """Return a certificate by three nodes' Ed25519 keys."""
    stamp = core_world.NOW // 1000
    message = f"cosignature/v1\ntime {stamp}\n".encode() + body
    lines = [line(name, 4, key, message, u64(stamp)) for name, key in list(core_world.NODES.items())[:3]]
    return body + b"\n" + "".join(lines).encode()


def derived(genesis: Genesis) -> Iterator[tuple[str, object]]:
    """Yield what a node makes of the log, record by record and block by block; the last is the list of blocks."""
    deriver, blocks, outcomes = Deriver(ChainState(genesis)), list[Derived](), list[str]()
    for offset, (time, value) in enumerate(log()):
        fed = deriver.feed(LogRecord(offset, time, value))
        blocks.extend(fed.closed)
        outcomes.append(fed.outcome.label)
    yield "outcomes", outcomes
    yield "outcome kinds", sorted(set(outcomes))
    for number, found in enumerate(blocks, 1):
        yield f"block {number}", found.block.encoded
        yield f"checkpoint {number}", found.checkpoint.body()
        yield f"places {number}", list(found.block.places())
        for place, outgoing in enumerate(published(genesis, found)):
            what = (outgoing.key, outgoing.value, outgoing.headers)
            yield f"published {number} {place} on {outgoing.topic}", what
    yield "blocks", blocks


def published(genesis: Genesis, found: Derived) -> list[Outgoing]:
    """Return what publishing a block sends."""
    held = ledger_block(found.block, certified(found))
    return publication(genesis, Topics(), held, found)


def certified(found: Derived) -> bytes:
    """Return a block as committed."""
    return encode_certified(found.block, certificate(found.checkpoint.body()))


def followed(genesis: Genesis, blocks: list[Derived], folder: Path) -> Iterator[tuple[str, object]]:
    """Yield what all consumers make of the blocks."""
    loop, topic = SimulatedLoop(), MemoryTopic()
    topic.publish([certified(found) for found in blocks])
    world = cast("World", VectorWorld(genesis, Ed25519Signer(core_world.LOG, Use.LOG)))
    keys = dict(map(_platform_key, Suite))
    export = ExportConsumer(loop, world, topic, folder / "export")
    platform = PlatformConsumer(loop, world, topic, folder / "platform", keys.get)
    view = ViewConsumer(loop, world, topic, folder / "view")
    for consumer in (export, platform, view):
        consumer.drain()
    with view.view.snapshot() as snapshot:
        for suite in Suite:
            name = core_world.named(suite)
            site = SiteName(name["country"], name["city"], name["site_id"])
            document = site_head(genesis.chain, snapshot, site)
            assert document is not None
            yield f"site head {suite}", json.dumps(document.as_json()).encode()
    for number, outgoing in enumerate(platform.sent):
        yield f"observations {number}", (outgoing.key, outgoing.value)
    for consumer in (export, platform, view):
        consumer.stop()
    for path, content in sorted(exported_files(export.folder).items()):
        yield f"file {path}", content
    for table, rows in sorted(platform_rows(platform.folder).items()):
        yield f"platform table {table}", rows
    for part, found in sorted(view_content(view.folder).items()):
        yield f"view {part}", found
    container = BlockContainer(folder / "blocks.avro", genesis)
    loop.run_until_complete(follow_to_end(Follower(genesis, MemoryReader(topic), container)))
    container.finish()
    yield "file of blocks", (folder / "blocks.avro").read_bytes()
    loop.close()


def _platform_key(suite: Suite) -> tuple[bytes, SealingKey]:
    key = SealingKey(SEALING_ALGORITHM[suite], core_world.secrets(suite)[1][1])
    return key.public.fingerprint, key


def digests() -> Digests:
    """Return name and SHA-256 of everything, in order."""
    folder = scratch_folder()
    try:
        genesis = parse_genesis(core_world.genesis())
        found: dict[str, Any] = {"log": log(), **dict(derived(genesis))}
        blocks = found.pop("blocks")
        found |= dict(followed(genesis, blocks, folder))
        return {name: digest(value) for name, value in found.items()}
    finally:
        shutil.rmtree(folder)


def text() -> str:
    """Return the digests as they are stored."""
    return json.dumps(digests(), indent=1) + "\n"


if __name__ == "__main__":
    locale.setlocale(locale.LC_ALL, "")
    if "--write" in sys.argv[1:]:
        GOLDEN.write_text(text())
    else:
        sys.stdout.write(text())
