"""What a dishonest quorum could make: another certified block at a height that has one."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.core.block import encode_certified, make_block
from pipeline.core.checkpoint import Checkpoint
from pipeline.core.derive import entries_root
from pipeline.core.replica import Extended, extend
from pipeline.ports import LedgerBlock
from tests.support.world import World


def forked_block(world: World, blocks: Sequence[LedgerBlock], *, entries: int | None = None) -> LedgerBlock:
    """Return a certified block in place of the last of ``blocks``: the same entries, or fewer, under another header.

    All of it is valid, so that only the other block at this height tells that the quorum lied.
    """
    state = world.state()
    for block in blocks[:-1]:
        assert isinstance(extend(state, block.certified), Extended)
    before = state.head.frontier
    result = extend(state, blocks[-1].certified)
    assert isinstance(result, Extended)
    genuine = result.block
    kept = genuine.entries[:entries]
    header = replace(
        genuine.header, log_digest=bytes(32), entry_count=len(kept), entries_root=entries_root(kept)
    )
    forked = make_block(header, kept)
    after = before.extend(forked.leaf_hashes)
    certificate = world.certificate(Checkpoint(world.genesis.origin, after.size, after.root()))
    encoded = encode_certified(forked, certificate)
    return LedgerBlock(header.height, forked.hash, forked.header_bytes, encoded)
