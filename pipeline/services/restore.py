"""Restore: fills an empty or cut blocks topic from exported blocks and from what nodes' folders hold.

Owns the order: verify, then append; every block goes through the rules and certificates that a consumer applies, so
what is appended is right however often the command is cut short and run again. What nodes signed and no source has a
certificate of is completed where the signatures suffice: a node never signs another block at that height.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.core.block import Block, certified_body, encode_certified, parse_block, parse_certified
from pipeline.core.checkpoint import Checkpoint, Cosignature, assemble_certificate
from pipeline.core.genesis import Genesis
from pipeline.core.quorum import Certified, check_stated
from pipeline.core.replica import Extended, extend
from pipeline.core.state import ChainState
from pipeline.core.topics import Topics
from pipeline.ports import Outgoing, PartitionReader, Producer, SignedBlock
from pipeline.services.accounting.publication import publication, registrations
from pipeline.services.accounting.startup import ledger_block
from pipeline.services.accounting.votes import genuine_lines, parse_vote
from pipeline.services.certificate_watch import CertificateWatch
from pipeline.services.signatures import SignaturePool

_BATCH_BLOCKS: Final = 16
_FETCH_TIMEOUT_MS: Final = 2000


class Supply:
    """Certified blocks from one place, asked for by rising height; not verified. ``name`` is for people."""

    def __init__(self, name: str, blocks: Iterable[tuple[int, bytes]]) -> None:
        self.name = name
        self._blocks: Iterator[tuple[int, bytes]] = iter(blocks)
        self._next = next(self._blocks, None)

    def up_to(self, height: int) -> Iterator[tuple[int, bytes]]:
        """Yield the heights and blocks that the place holds up to a height, from where the last call ended."""
        while self._next is not None and self._next[0] <= height:
            yield self._next
            self._next = next(self._blocks, None)

    def beyond(self) -> tuple[int, bytes] | None:
        """Return the first block above the heights asked for, or None."""
        return self._next


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A block that some nodes signed and no quorum, as far as the given folders tell.

    ``blocks_the_chain`` where so many signed it that without it no quorum is left for another one.
    """

    height: int
    block_hash: bytes
    nodes: tuple[str, ...]
    blocks_the_chain: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """What the topic holds now: blocks found in it, its height, heights completed from signatures.

    ``problems`` name what could not be restored; ``unfinished`` what is signed and not certified.
    """

    found: int
    height: int
    completed: tuple[int, ...]
    unfinished: tuple[Unfinished, ...]
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Progress:
    """What one run did so far."""

    found: int = 0
    completed: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    waiting: list[Outgoing] = field(default_factory=list)


class Restore:
    """Restores one chain's blocks topic, and the site registrations that validators need."""

    def __init__(
        self,
        genesis: Genesis,
        topics: Topics,
        reader: PartitionReader,
        producer: Producer,
        pool: SignaturePool,
    ) -> None:
        self._genesis, self._topics = genesis, topics
        self._reader, self._producer, self._pool = reader, producer, pool
        self._state = ChainState(genesis)
        self._roots: dict[int, bytes] = {}
        self._hashes: dict[int, bytes] = {}
        self._watch = CertificateWatch(genesis, self._roots.get)
        self._done = _Progress()

    async def run(
        self,
        supplies: Sequence[Supply],
        signed: Sequence[SignedBlock],
        progress: Callable[[int], None] = lambda _height: None,
    ) -> Restored:
        """Append what the topic lacks; ``signed`` are signing records of nodes, ``progress`` hears each height.

        Raises:
            IntegrityError: two valid certificates contradict each other (code ``fork``).
            TransientError: Kafka is away; run again.
        """
        await self._read_topic(progress)
        by_height: dict[int, list[SignedBlock]] = defaultdict(list)
        for record in signed:
            by_height[record.height].append(record)
        while True:
            height = self._state.head.height + 1
            data = await self._supplied(height, supplies) or await self._completed(by_height.get(height, ()))
            if data is None:
                break
            await self._append(data)
            progress(height)
        await self._flush()
        return self._report(supplies, by_height)

    async def _read_topic(self, progress: Callable[[int], None]) -> None:
        position, end = await self._reader.bounds()
        await self._reader.seek(position)
        while position < end:
            for record in await self._reader.fetch(_BATCH_BLOCKS, _FETCH_TIMEOUT_MS):
                position = record.offset + 1
                body = certified_body(record.value)
                if await self._extends(body):
                    parsed = parse_certified(body)
                    assert parsed is not None  # noqa: S101  it extended the chain
                    # They may be what an earlier run was cut short before.
                    await self._send(registrations(self._genesis, self._topics, parsed[0]))
                    progress(self._state.head.height)
                else:
                    self._weigh(body)
        self._done.found = self._state.head.height

    async def _extends(self, data: bytes, source: str = "") -> bool:
        """Extend the chain by a block if it is the next one; note why where one of a named source is not."""
        result = extend(self._state, data, await self._pool.check_block(self._state, data))
        if not isinstance(result, Extended):
            if source:
                self._done.refused.append(f"{source}: {result}")
            return False
        frontier = self._state.head.frontier
        self._roots[frontier.size] = frontier.root()
        self._hashes[self._state.head.height] = self._state.head.block_hash
        self._watch.grown(frontier)
        self._done.refused.clear()
        return True

    def _is_known(self, height: int, data: bytes) -> bool:
        """Tell whether this is the block that the chain has at a height."""
        parsed = parse_certified(data)
        return parsed is not None and self._hashes.get(height) == parsed[0].hash

    def _weigh(self, data: bytes) -> None:
        """Halt where a block that is not in the chain carries a valid certificate that contradicts it."""
        parsed = parse_certified(data)
        if parsed is not None:
            self._watch.check(parsed[1], self._state.policy_at, self._state.head.frontier.size)

    async def _supplied(self, height: int, supplies: Sequence[Supply]) -> bytes | None:
        """Return the next block from the first place that has it, once none contradicts it."""
        chosen, others = None, []
        for supply in supplies:
            for stated, data in supply.up_to(height):
                if stated == height and chosen is None and await self._extends(data, supply.name):
                    chosen = data
                elif stated == height or not self._is_known(stated, data):
                    others.append(data)
        for data in others:
            self._weigh(data)
        return chosen

    async def _completed(self, signed: Sequence[SignedBlock]) -> bytes | None:
        """Return the next block with a certificate made of what nodes signed, if they suffice."""
        for encoded in {record.encoded for record in signed if record.encoded}:
            block = parse_block(encoded)
            if block is None:
                continue
            lines = self._lines(block, signed)
            if len(lines) < self._state.policy.quorum:
                continue
            certificate = assemble_certificate(
                self._checkpoint(block), [line for node in sorted(lines) for line in lines[node]]
            )
            data = encode_certified(block, certificate)
            if await self._extends(data, "signing records"):
                self._done.completed.append(block.header.height)
                return data
        return None

    def _checkpoint(self, block: Block) -> Checkpoint:
        after = self._state.head.frontier.extend(block.leaf_hashes)
        return Checkpoint(self._genesis.origin, after.size, after.root())

    def _lines(self, block: Block, signed: Sequence[SignedBlock]) -> dict[str, tuple[Cosignature, ...]]:
        """Return the genuine cosignatures of the tree that a block leads to, by node."""
        checkpoint, found = self._checkpoint(block), {}
        for record in signed:
            vote = parse_vote(self._genesis.chain, record.message)
            if vote is not None and (vote.tree_size, vote.root) == (checkpoint.size, checkpoint.root):
                lines = genuine_lines(self._genesis.origin, self._state.policy, vote)
                if lines:
                    found[vote.node] = lines
        return found

    async def _append(self, data: bytes) -> None:
        parsed = parse_certified(data)
        assert parsed is not None  # noqa: S101  it extended the chain
        await self._send(publication(self._genesis, self._topics, ledger_block(parsed[0], data), None))

    async def _send(self, records: Sequence[Outgoing]) -> None:
        self._done.waiting.extend(records)
        if len(self._done.waiting) >= _BATCH_BLOCKS:
            await self._flush()

    async def _flush(self) -> None:
        if self._done.waiting:
            await self._producer.send(self._done.waiting)
            self._done.waiting = []

    def _report(self, supplies: Sequence[Supply], signed: dict[int, list[SignedBlock]]) -> Restored:
        height, problems = self._state.head.height, list(dict.fromkeys(self._done.refused))
        for supply in supplies:
            beyond = supply.beyond()
            if beyond is not None and self._is_certified(beyond[1]):
                problems.append(
                    f"block {height + 1} is missing: {supply.name} goes on with the certified block {beyond[0]}"
                )
        if self._watch.ahead is not None:
            problems.append(
                f"the topic, or a block that was refused, has a certificate of {self._watch.ahead} leaves, which "
                f"no block after {height} leads to"
            )
        unfinished = [
            item for at in sorted(signed) if at > height for item in self._unfinished(at, signed[at])
        ]
        done = self._done
        return Restored(done.found, height, tuple(done.completed), tuple(unfinished), tuple(problems))

    def _is_certified(self, data: bytes) -> bool:
        parsed = parse_certified(data)
        if parsed is None:
            return False
        return isinstance(check_stated(parsed[1], self._genesis.origin, self._state.policy_at), Certified)

    def _unfinished(self, height: int, signed: Sequence[SignedBlock]) -> Iterator[Unfinished]:
        nodes: dict[bytes, set[str]] = defaultdict(set)
        for record in signed:
            vote = parse_vote(self._genesis.chain, record.message)
            if vote is not None and genuine_lines(
                self._genesis.origin, self._state.policy_at(vote.tree_size), vote
            ):
                nodes[record.block_hash].add(vote.node)
        policy = self._state.policy
        spare = len(policy.node_names) - policy.quorum
        for block_hash, names in nodes.items():
            yield Unfinished(height, block_hash, tuple(sorted(names)), len(names) > spare)
