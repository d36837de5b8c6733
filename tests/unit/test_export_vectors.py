"""Golden vectors of what an exported log is made of: tiles and bundles, policy, container file of blocks."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.block_container import BlockContainer
from pipeline.core.genesis import encode_genesis, parse_genesis
from pipeline.core.policy_file import policy_text
from pipeline.core.tiles import Edge, TileId, parse_tile_path
from pipeline.core.tlog_policy import TlogPolicy, parse_policy
from pipeline.services.follower import Follower, follow_to_end
from tests.support.chain import MemoryReader
from tests.support.golden import GENESIS, blocks_topic
from tests.vectors.core_world import FOLDER
from tests.vectors.generate_export import entry, listing, summary

TILES: Any = json.loads((FOLDER / "tiles.json").read_text())
POLICY: Any = json.loads((FOLDER / "policy_text.json").read_text())
LOGS = pytest.mark.parametrize("log", TILES["logs"], ids=lambda log: str(log["size"]))


def files_of(size: int) -> dict[str, bytes]:
    """Return tiles and bundles of the log of the first entries, as the exporter makes them."""
    edge, filled = Edge.EMPTY.grow([entry(i) for i in range(size)])
    return {tile.path: content for tile, content in [*filled, *edge.partials()]}


@LOGS
def test_a_log_of_a_stored_size_has_the_stored_files(log: dict[str, Any]) -> None:
    files = files_of(log["size"])
    assert listing(files) == log.get("files", listing(files))
    assert summary(files) == log["all"]


def test_the_files_of_a_small_log_are_the_stored_bytes() -> None:
    assert {path: content.hex() for path, content in files_of(3).items()} == TILES["small"]


@pytest.mark.parametrize(("level", "index", "width", "path"), TILES["paths"])
def test_a_tile_has_the_stored_path(level: int, index: int, width: int, path: str) -> None:
    tile = TileId(level, index, width)
    assert tile.path == path
    assert parse_tile_path(path) == tile


def test_a_genesis_file_with_two_keys_a_node_is_read_and_written_the_same() -> None:
    genesis = parse_genesis(POLICY["genesis"].encode())
    assert (genesis.chain.hex(), genesis.origin) == (POLICY["chain"], POLICY["origin"])
    again = encode_genesis(
        url=genesis.url,
        topic=genesis.topic,
        partition=genesis.partition,
        root_keys=genesis.root_keys,
        root_threshold=genesis.root_threshold,
        registrars=genesis.registrars,
        policy=genesis.policy,
        log_key=genesis.log_key,
        contract=genesis.contract,
    )
    assert again.decode() == POLICY["genesis"]


def test_the_policy_of_a_genesis_file_has_the_stored_text() -> None:
    assert policy_text(parse_genesis(POLICY["genesis"].encode())) == POLICY["policy"]
    assert isinstance(parse_policy(POLICY["policy"].encode()), TlogPolicy)


async def test_the_file_of_the_golden_blocks_has_the_stored_bytes(tmp_path: Path) -> None:
    stored = json.loads((FOLDER / "blocks_file.json").read_text())
    container = BlockContainer(tmp_path / "blocks.avro", GENESIS)
    await follow_to_end(Follower(GENESIS, MemoryReader(blocks_topic()), container))
    container.finish()
    content = (tmp_path / "blocks.avro").read_bytes()
    assert (len(content), sha256(content).hexdigest()) == (stored["bytes"], stored["sha256"])
    assert content.endswith(bytes.fromhex(stored["sync"]))
