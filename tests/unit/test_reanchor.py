"""Signing a reanchor: by enough root keys, here or from holder to holder, of the last block only."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.adapters.block_container import BlockContainer, read_container
from pipeline.core.control import Reanchor, control_id
from pipeline.core.errors import ConfigError
from pipeline.core.followed import Applied
from pipeline.core.keys import Use
from pipeline.core.replica import Extended, extend
from pipeline.core.signing import Ed25519Signer
from pipeline.core.state import ChainState
from pipeline.services.reanchor import reanchor, reanchor_record
from tests.support.chain import Chain, MemoryProducer, MemoryReader, MemoryTopic
from tests.support.world import World, secret


@pytest.fixture
def chain() -> Chain:
    """Return a chain of one block."""
    made = Chain()
    made.enrol(made.world.site(1))
    return made


def state_of(chain: Chain) -> ChainState:
    state = chain.world.state()
    assert isinstance(extend(state, chain.certified[0]), Extended)
    return state


async def test_enough_keys_append_what_every_node_finds(chain: Chain) -> None:
    state, log, producer = state_of(chain), MemoryTopic("log", [b"x"]), MemoryProducer()
    done = await reanchor(state, chain.world.roots[:2], None, MemoryReader(log), producer)
    assert (done.height, done.incarnation, done.signatures, done.appended) == (1, 2, 2, True)
    (sent,) = producer.sent
    assert (sent.topic, sent.partition) == (chain.world.topic, 0)
    log.values.append(sent.value)
    again = await reanchor(state, [], None, MemoryReader(log), producer)
    assert (again.offset, again.appended, len(producer.sent)) == (1, False, 1)


async def test_one_key_appends_nothing_until_another_holder_signs_its_draft(chain: Chain) -> None:
    state, producer, roots = state_of(chain), MemoryProducer(), chain.world.roots
    log = MemoryReader(MemoryTopic("log"))
    first = await reanchor(state, roots[2:], None, log, producer)
    assert (first.signatures, first.appended, producer.sent) == (1, False, [])
    same = await reanchor(state, roots[2:], first.raw, log, producer)
    assert (same.raw, same.signatures, producer.sent) == (first.raw, 1, [])
    second = await reanchor(state, roots[:1], first.raw, log, producer)
    assert (second.signatures, second.appended) == (2, True)
    assert control_id(second.raw) == control_id(first.raw)


def test_the_record_continues_from_what_the_key_signed_before(chain: Chain) -> None:
    state = state_of(chain)
    first = reanchor_record(state, chain.world.roots[:2])
    assert (first.sequence, first.previous) == (1, bytes(32))
    assert first.body == Reanchor(2, 1, state.head.block_hash)
    assert reanchor_record(state, chain.world.roots[:2]).raw == first.raw


STRANGER = Ed25519Signer(secret("stranger"), Use.ROOT)
DRAFTS: dict[str, Callable[[World, ChainState], bytes]] = {
    "rubbish": lambda _world, _state: b"rubbish",
    "another block": lambda world, state: world.reanchor(state, height=7),
    "another chain": lambda _world, _state: World(nodes=3, quorum=2).reanchor(
        World(nodes=3, quorum=2).state()
    ),
    "a stranger's": lambda world, state: world.reanchor(state, STRANGER),
    "a stranger's second": lambda world, state: world.reanchor(state, world.roots[0], STRANGER),
    "a bad signature": lambda world, state: world.reanchor(state)[:-2] + b"\1\0",
}


@pytest.mark.parametrize("draft", DRAFTS)
def test_no_holder_signs_a_draft_of_anything_else(chain: Chain, draft: str) -> None:
    state = state_of(chain)
    with pytest.raises(ConfigError, match="no reanchor of block 1"):
        reanchor_record(state, chain.world.roots[:2], DRAFTS[draft](chain.world, state))


def test_only_root_keys_sign(chain: Chain) -> None:
    for signers in ([STRANGER], [chain.world.roots[0], chain.world.registrar]):
        with pytest.raises(ConfigError, match="no root key"):
            reanchor_record(state_of(chain), signers)
    with pytest.raises(ConfigError, match="--root-key"):
        reanchor_record(state_of(chain), [])


def written(chain: Chain, path: Path) -> list[bytes]:
    """Write a chain's blocks to a container file."""
    container = BlockContainer(path, chain.world.genesis)
    state, _ = container.load()
    for offset, certified in enumerate(chain.certified):
        result = extend(state, certified)
        assert isinstance(result, Extended)
        container.store([Applied(result, offset)], offset + 1)
    container.finish()
    return chain.certified


def test_a_file_of_blocks_gives_back_the_bytes_that_were_published(chain: Chain, tmp_path: Path) -> None:
    chain.packets(chain.world.site(1).packet([1]))
    path = tmp_path / "blocks.avro"
    assert written(chain, path) == list(read_container(path))


def test_a_file_that_is_missing_or_no_container_is_named(tmp_path: Path) -> None:
    path = tmp_path / "blocks.avro"
    with pytest.raises(ConfigError, match=r"blocks.avro: No such file"):
        list(read_container(path))
    for content in (b"", b"rubbish", b"Obj\x01"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="no Avro container file"):
            list(read_container(path))


@pytest.mark.parametrize("cut", [1, 20, 500])
def test_a_file_that_is_cut_short_is_named_after_its_whole_blocks(
    chain: Chain, tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "blocks.avro"
    written(chain, path)
    path.write_bytes(path.read_bytes()[:-cut])
    found = []
    with pytest.raises(ConfigError, match="damaged after"):
        for block in read_container(path):
            found.append(block)
    assert found in ([], chain.certified)
