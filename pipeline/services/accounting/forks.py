"""Watches certificates that contradict the chain which this node committed, whatever block they come attached to."""

from typing import Final

from pipeline.core.errors import IntegrityError
from pipeline.core.merkle import Frontier
from pipeline.core.quorum import Certified, PolicyAt, check_stated

KEPT_ROOTS: Final = 1024
"""Blocks whose certificates are compared; followers and auditors compare all."""


class ForkWatch:
    """The trees of the last committed blocks, and those that a quorum certified beyond them, by ``policy_at``."""

    def __init__(self, origin: str, policy_at: PolicyAt, frontier: Frontier) -> None:
        self._origin = origin
        self.policy_at = policy_at
        self._roots = {frontier.size: frontier.root()}
        self._size = frontier.size
        self._ahead: dict[int, bytes] = {}

    def grown(self, frontier: Frontier) -> None:
        """Note that the chain grew by a certified block to this tree.

        Raises:
            IntegrityError: a certificate seen earlier contradicts it (code ``fork``).
        """
        self._roots[frontier.size], self._size = frontier.root(), frontier.size
        if len(self._roots) > KEPT_ROOTS:
            del self._roots[min(self._roots)]
        for size in [size for size in self._ahead if size <= frontier.size]:
            self._compare(size, self._ahead.pop(size))

    def check(self, certificate: bytes) -> Certified | None:
        """Return what a certificate states, having compared it with the chain; None if it is not valid.

        Raises:
            IntegrityError: it is valid and contradicts the chain (code ``fork``).
        """
        certified = check_stated(certificate, self._origin, self.policy_at)
        if not isinstance(certified, Certified):
            return None
        size, root = certified.checkpoint.size, certified.checkpoint.root
        if size > self._size:
            if self._ahead.setdefault(size, root) != root:
                raise _fork(size)
        elif size >= min(self._roots):
            self._compare(size, root)
        return certified

    def _compare(self, size: int, root: bytes) -> None:
        if self._roots.get(size) != root:
            raise _fork(size)


def _fork(size: int) -> IntegrityError:
    return IntegrityError(
        f"two valid certificates disagree about the tree of {size} leaves: the chain has forked; "
        "stop all nodes, keep all data and run 'bkdms verify'",
        code="fork",
    )
