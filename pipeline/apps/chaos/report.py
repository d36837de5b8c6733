"""Results by fault: how often, how long until recovered, and what was lost, doubled or altered."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from pipeline.apps.chaos.rounds import Result


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: rounds that it was in, alone or not, of which ``combined`` with another; recovery in seconds."""

    fault: str
    rounds: int
    combined: int
    recovery_p50_s: float | None
    recovery_max_s: float | None
    lost: int
    doubled: int
    altered: int
    bad: int


def rows(results: Iterable[Result]) -> list[Row]:
    """Return a row a fault, by name, and one for all rounds."""
    all_results = list(results)
    names = sorted({name for result in all_results for name in result.faults})
    found = [_row(name, [result for result in all_results if name in result.faults]) for name in names]
    return [*found, _row("all rounds", all_results)] if all_results else []


def _row(name: str, results: list[Result]) -> Row:
    recovered = [result.recovery_s for result in results if result.recovery_s is not None]
    return Row(
        name,
        len(results),
        sum(len(result.faults) > 1 for result in results),
        round(median(recovered), 2) if recovered else None,
        max(recovered, default=None),
        sum(result.lost for result in results),
        sum(result.doubled for result in results),
        sum(result.altered for result in results),
        sum(not result.is_good for result in results),
    )
