"""Counting what is read while it is read."""

from collections.abc import Iterable, Iterator

from pipeline.core.assess.model import Observed


class Tally:
    """Counts the values that pass through it."""

    def __init__(self) -> None:
        self.values = 0

    def counted(self, groups: Iterable[Iterable[Observed]]) -> Iterator[Iterable[Observed]]:
        """Yield the groups unchanged; ``values`` is how many values were taken out of them so far."""
        for group in groups:
            yield self._counted(group)

    def _counted(self, group: Iterable[Observed]) -> Iterator[Observed]:
        for row in group:
            self.values += 1
            yield row
