"""How long a disk lasts: what every site adds in a day, and when the disk is full at that pace. Sizes in bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DAY_MS: Final = 24 * 60 * 60 * 1000
LEAST_OBSERVED_MS: Final = 60 * 60 * 1000
"""A chain younger than this says nothing of a day."""
SMALL_LEDGER_BYTES: Final = 10_000_000
USUAL_RATIO: Final = 4.0
"""Bytes on disk for ever per byte of blocks, as measured with packets of 500 records and a store in SQLite."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Blocks of a while: its start and end in milliseconds, bytes of its blocks, bytes of all blocks, active sites."""

    start_ms: int
    end_ms: int
    added: int
    total: int
    sites: int


@dataclass(frozen=True, slots=True)
class Passing:
    """A part that retention keeps from growing for ever: bytes that it has, milliseconds that it keeps."""

    size: int
    kept_ms: int


@dataclass(frozen=True, slots=True)
class DiskForecast:
    """Bytes a day of the ledger's blocks, of everything on disk, and of one active site; days until the disk is full.

    ``full_in_days`` is None where nothing grows.
    """

    free: int
    ledger_per_day: float
    disk_per_day: float
    per_site_and_day: float
    full_in_days: float | None
    observed_hours: float


def forecast(free: int, lasting: int, passing: Sequence[Passing], growth: Growth) -> DiskForecast | None:
    """Return how long ``free`` bytes last beside ``lasting`` bytes of parts that are kept for ever; None if too young.

    Parts with retention first fill up to what it lets them hold; what lasts grows with the blocks.
    """
    observed_ms = growth.end_ms - growth.start_ms
    if observed_ms < LEAST_OBSERVED_MS:
        return None
    ledger = growth.added * DAY_MS / observed_ms
    ratio = USUAL_RATIO if growth.total < SMALL_LEDGER_BYTES else max(1.0, lasting / growth.total)
    disk = ledger * ratio
    to_come = sum(part.size * max(0.0, part.kept_ms / observed_ms - 1) for part in passing)
    full = max(0.0, free - to_come) / disk if disk else None
    return DiskForecast(
        free, ledger, disk, disk / growth.sites if growth.sites else 0.0, full, observed_ms / 3_600_000
    )
