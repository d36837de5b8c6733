"""What the assessment worker needs from the platform's store, as a protocol."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from pipeline.core.assess.changes import Found, Position, Replaced, Unsent
from pipeline.core.assess.model import Cell, Observed


class AssessStore(Protocol):
    """The assessments in the platform's store. Calls come from one thread at a time and block.

    All raise ``TransientError`` while the database is away.
    """

    def load(self) -> Position:
        """Return the stored position; height 0 without a plan at first."""

    def head(self) -> int:
        """Return the height of the last block stored; 0 for none."""

    def times(self, after: int, to: int) -> Iterator[tuple[str, str, int]]:
        """Yield country, city and time (GMT ms) of the values in blocks above ``after`` up to ``to``, each once."""

    def groups(self, cell: Cell) -> Iterator[Iterable[Observed]]:
        """Yield all values of a cell, series by series; each group is read before the next one."""

    def cells(self) -> set[Cell]:
        """Return the cells that have assessments."""

    def replace(self, found: Sequence[Found], before: Position, after: Position) -> Replaced:
        """Replace the assessments of cells, note what changed as unsent, and move the position, all or nothing.

        Raises:
            ConflictError: the position is not ``before`` (code ``assessed_by_another``); load anew.
        """

    def unsent(self, limit: int) -> list[Unsent]:
        """Return the next assessments whose change was not sent yet."""

    def mark_sent(self, sent: Sequence[Unsent]) -> None:
        """Note that these were sent."""

    def close(self) -> None:
        """Close the database."""
