"""How far an audit has come, so that it can be taken up again; and the roots that it would otherwise have to hold."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from pipeline.core.merkle import Frontier
from pipeline.core.state import ChainState, Changes, Tables

SAVE_EVERY_S: Final = 5.0
"""How much work an audit that is killed has to do again, at most and roughly."""


SavedPoint = tuple[ChainState, int, Mapping[str, Any]]
"""Where an audit stands: the state after the last good block, the source's next position, and its report so far."""


class AuditStore(Protocol):
    """Where an audit keeps how far it has come. Calls come from one thread at a time and block."""

    def load(self) -> SavedPoint | None:
        """Return the point that was saved last, or None where no good block came before it."""

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the saved block that ends at this tree size, or None."""

    def save(
        self,
        changes: Changes | None,
        roots: Sequence[tuple[int, bytes]],
        position: int,
        report: Mapping[str, Any],
    ) -> None:
        """Store what blocks changed since the last call, the roots after each, and the point; all or nothing."""


class RootsInMemory:
    """An ``AuditStore`` for audits that nobody takes up again, of chains that are not long."""

    def __init__(self) -> None:
        self._roots: dict[int, bytes] = {}

    def load(self) -> SavedPoint | None:
        """Return None: nothing is kept."""
        return None

    def root_of_size(self, size: int) -> bytes | None:
        """Return the root after the block that ends at this tree size, or None."""
        return self._roots.get(size)

    def save(
        self,
        changes: Changes | None,
        roots: Sequence[tuple[int, bytes]],
        position: int,
        report: Mapping[str, Any],
    ) -> None:
        """Keep the roots."""
        self._roots.update(roots)


class AuditProgress:
    """What good blocks changed since it was saved last, and the source's next position."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._changed = Tables()
        self._roots: list[tuple[int, bytes]] = []
        self._changes: Changes | None = None
        self._position = 0
        self._is_saved = True
        self._saved_s = 0.0

    def passed(self, position: int) -> None:
        """Note that everything before this position of the source was judged."""
        self._position = position
        self._is_saved = False

    def grown(self, changes: Changes, frontier: Frontier) -> None:
        """Note a good block."""
        for name in Tables.__slots__:
            getattr(self._changed, name).update(getattr(changes.tables, name))
        self._changes = Changes(self._changed, changes.head)
        self._roots.append((frontier.size, frontier.root()))

    def is_due(self, now_s: float) -> bool:
        """Say whether enough time has gone by since it was saved last."""
        return not self._is_saved and now_s - self._saved_s >= SAVE_EVERY_S

    def save(self, report: Mapping[str, Any], now_s: float) -> None:
        """Store all of it.

        Raises:
            TransientError: the disk refuses.
        """
        if not self._is_saved:
            self._store.save(self._changes, self._roots, self._position, report)
        self._changed, self._roots, self._changes = Tables(), [], None
        self._saved_s, self._is_saved = now_s, True
