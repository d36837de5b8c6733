"""Watches for certificates that contradict the chain that we follow (two valid ones at one height).

A certificate may come attached to a record that is no block of the chain; what it states still has to agree
with our tree, now or when our tree has grown to its size.
"""

from collections.abc import Callable, Mapping

from pipeline.core.block import Block
from pipeline.core.errors import IntegrityError
from pipeline.core.genesis import Genesis
from pipeline.core.merkle import Frontier
from pipeline.core.quorum import Certified, PolicyAt, check_stated

RootOfSize = Callable[[int], bytes | None]
"""Root (32 bytes) of the tree after the stored block that ends at a tree size; None where no block ends there."""


class CertificateWatch:
    """Valid certificates of tree sizes that the chain has not reached yet, and the check of the others."""

    def __init__(self, genesis: Genesis, stored_root: RootOfSize) -> None:
        self._genesis = genesis
        self._stored_root = stored_root
        self._recent: dict[int, bytes] = {}
        self._ahead: dict[int, bytes] = {}

    @property
    def ahead(self) -> int | None:
        """The smallest tree size certified beyond our chain, or None."""
        return min(self._ahead, default=None)

    @property
    def claims(self) -> dict[int, bytes]:
        """Roots by the tree sizes that were certified beyond our chain."""
        return dict(self._ahead)

    def expect(self, claims: Mapping[int, bytes]) -> None:
        """Take up what ``claims`` gave at an earlier time."""
        self._ahead.update(claims)

    def check(self, certificate: bytes, policy_at: PolicyAt, size: int) -> Certified | None:
        """Return what a certificate states, having compared it with our chain of ``size`` leaves; None if invalid.

        Raises:
            IntegrityError: it is valid and contradicts our chain (code ``fork``).
        """
        certified = check_stated(certificate, self._genesis.origin, policy_at)
        if not isinstance(certified, Certified):
            return None
        checkpoint = certified.checkpoint
        if checkpoint.size > size:
            if self._ahead.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
                raise _fork(checkpoint.size)
        elif self._root(checkpoint.size) != checkpoint.root:
            raise _fork(checkpoint.size)
        return certified

    def grown(self, frontier: Frontier) -> None:
        """Note that the chain grew by a certified block to this tree.

        Raises:
            IntegrityError: a certificate seen earlier contradicts it (code ``fork``).
        """
        self._recent[frontier.size] = frontier.root()
        for size in [size for size in self._ahead if size <= frontier.size]:
            if self._recent.get(size) != self._ahead.pop(size):
                raise _fork(size)

    def stored(self) -> None:
        """Note that everything up to now is stored, where its roots can be asked for."""
        self._recent.clear()

    def _root(self, size: int) -> bytes | None:
        return self._recent.get(size) or self._stored_root(size)


def certifies(certified: Certified, before: Frontier, block: Block) -> bool:
    """Say whether a certificate is that of the tree ``before`` extended by exactly this block."""
    after = before.extend(block.leaf_hashes)
    return (certified.checkpoint.size, certified.checkpoint.root) == (after.size, after.root())


def _fork(size: int) -> IntegrityError:
    return IntegrityError(
        f"two valid certificates disagree about the tree of {size} leaves: the chain has forked;"
        " keep all data and run 'bkdms verify'",
        code="fork",
    )
