"""The registry as the published blocks give it, kept in memory for as long as a command runs."""

from collections.abc import Mapping, Sequence

from pipeline.core.admission import enrolled_key
from pipeline.core.control import AccessLogHead, Amend, Control, Enrol
from pipeline.core.followed import Applied
from pipeline.core.genesis import Genesis
from pipeline.core.state import ChainState
from pipeline.ports import PartitionReader
from pipeline.services.follower import Follower


class _MemorySink:
    """A ``BlockSink`` that keeps the state, the roots and the sites' proofs of possession, and forgets the blocks."""

    def __init__(self, genesis: Genesis) -> None:
        self.state = ChainState(genesis)
        self.possessions: dict[bytes, bytes] = {}
        self.log_heads: dict[bytes, list[AccessLogHead]] = {}
        self._roots: dict[int, bytes] = {}

    def load(self) -> tuple[ChainState, int]:
        """Return the state; the follower extends this very object."""
        return self.state, 0

    def store(self, applied: Sequence[Applied], _next_offset: int) -> None:
        """Note the roots, and with which proof each key of a site came."""
        for item in applied:
            frontier = item.extended.changes.head.frontier
            self._roots[frontier.size] = frontier.root()
            for admitted in item.extended.admitted:
                self._note(admitted)

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the block that ends at this tree size, or None."""
        return self._roots.get(size)

    def _note(self, record: object) -> None:
        if isinstance(record, Control) and isinstance(record.body, AccessLogHead):
            self.log_heads.setdefault(record.issuer, []).append(record.body)
        if isinstance(record, Control) and isinstance(record.body, Enrol | Amend):
            key = enrolled_key(record.body)
            if key is not None:
                self.possessions[key.fingerprint] = record.body.possession


class RegistryView:
    """Verified state after the newest block on the blocks topic, brought up to date when asked."""

    def __init__(self, genesis: Genesis, blocks: PartitionReader) -> None:
        self._blocks = blocks
        self._sink = _MemorySink(genesis)
        self._follower = Follower(genesis, blocks, self._sink)

    async def refresh(self) -> ChainState:
        """Read all blocks published by now and return the state after them.

        Raises:
            TransientError: Kafka is not there.
            IntegrityError: the published blocks contradict one another.
        """
        _, end = await self._blocks.bounds()
        while self._follower.next_offset < end:
            await self._follower.step()
        return self._sink.state

    @property
    def possessions(self) -> Mapping[bytes, bytes]:
        """The proof of possession (64 bytes) of every key of a site that the ledger ever had, by fingerprint."""
        return self._sink.possessions

    def log_heads(self, issuer: bytes) -> Sequence[AccessLogHead]:
        """Return the heads of the access log that the key of this fingerprint anchored, oldest first."""
        return self._sink.log_heads.get(issuer, ())
