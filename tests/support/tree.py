"""A Merkle tree over leaf hashes in memory, for tests."""

from collections.abc import Sequence

from pipeline.core.merkle import inclusion_path, root_of


class MemoryTree:
    """All leaf hashes of a tree."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = list(leaves)

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree."""
        return root_of(self.leaves[index << level : (index + 1) << level])

    def inclusion(self, index: int) -> list[bytes]:
        """Return the audit path of a leaf in the whole tree."""
        return inclusion_path(index, len(self.leaves), self.node)
