"""The shape of every attack, and the table of what was seen. ``make security`` prints it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from tests.security.ground import Ground

ATTACK_S: Final = 150
_COLUMNS: Final = ("attack", "threat", "expected", "seen")

Run = Callable[[Ground], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Attack:
    """What somebody tries, which threats of Y.4810 7.2 it is about, and what must come of it.

    ``run`` does it and returns what was seen.
    """

    name: str
    threat: str
    expected: str
    run: Run

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


@dataclass
class Findings:
    """Everything that was tried so far."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    async def see(self, attack: Attack, ground: Ground) -> str:
        """Carry out an attack and note what came of it; an exception is something seen, too."""
        try:
            async with asyncio.timeout(ATTACK_S):
                seen = await attack.run(ground)
        except Exception as error:
            seen = f"{type(error).__name__}: {error}"
        self.rows.append((attack.name, attack.threat, attack.expected, seen))
        return seen

    def table(self) -> list[str]:
        """Return the table as lines; what was not as expected is marked."""
        short = [tuple(_short(cell) for cell in row) for row in (_COLUMNS, *self.rows)]
        widths = [max(len(row[column]) for row in short) for column in range(len(_COLUMNS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in short
        ]
        marks = ["  ", *("  " if row[2] == row[3] else "! " for row in self.rows)]
        return [(mark + line).rstrip() for mark, line in zip(marks, lines, strict=True)]


def _short(cell: str, most: int = 72) -> str:
    shown = cell if cell.isprintable() else ascii(cell)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
