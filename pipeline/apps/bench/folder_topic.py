"""A blocks topic read from a folder of block files: what a follower gets from Kafka, without Kafka."""

from pipeline.adapters.block_folder import block_file, read_blocks
from pipeline.apps.bench.chain_maker import BenchChain
from pipeline.core import avro
from pipeline.core.block import CERTIFIED_BLOCK
from pipeline.core.errors import IntegrityError
from pipeline.ports import PartitionReader, Received


class FolderTopic(PartitionReader):
    """The ``PartitionReader`` of a made chain; offset 0 is block 1."""

    def __init__(self, chain: BenchChain) -> None:
        self._chain = chain
        self._next = 0

    async def seek(self, offset: int) -> None:
        """Make ``offset`` the next one to be fetched."""
        self._next = offset

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next blocks, framed.

        Raises:
            IntegrityError: the position is past the end (code ``offset_out_of_range``).
            ConfigError: a file can't be read.
        """
        end = self._chain.block_count
        if self._next > end:
            raise IntegrityError("the position is not in the folder", code="offset_out_of_range")
        heights = range(self._next + 1, min(self._next + max_records, end) + 1)
        files = [(height, block_file(self._chain.blocks_folder, height)) for height in heights]
        self._next += len(files)
        return [
            Received("blocks", 0, height - 1, 0, None, avro.frame(CERTIFIED_BLOCK, content))
            for height, _, content in read_blocks(files)
        ]

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset and the one after the last."""
        return 0, self._chain.block_count

    async def close(self) -> None:
        """Leave nothing open."""
