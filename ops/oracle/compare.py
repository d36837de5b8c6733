"""Two multisets of values: what was told to be sent, and what the store holds."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ops.oracle.plan import Amount, Place, Point


class RowKey(NamedTuple):
    """Primary key of a stored value."""

    tracing_code: str
    record: int
    number: int


class Stored(NamedTuple):
    """A stored value and its row."""

    amount: Amount
    row: RowKey


@dataclass(slots=True)
class Difference:
    """Counts by site, altered rows, and a sentence for each value that is not as it should be."""

    missing: Counter[Place] = field(default_factory=Counter)
    doubled: Counter[Place] = field(default_factory=Counter)
    unexpected: Counter[Place] = field(default_factory=Counter)
    altered: set[RowKey] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def compare(expected: Iterable[tuple[Point, Amount]], stored: Iterable[tuple[Point, Stored]]) -> Difference:
    """Match values one to one: altered shares its point with one told to be sent, doubled is one too many there."""
    told: dict[Point, Counter[Amount]] = defaultdict(Counter)
    for point, amount in expected:
        told[point][amount] += 1
    held: dict[Point, list[Stored]] = defaultdict(list)
    for point, value in stored:
        held[point].append(value)
    difference = Difference()
    for point in [*told, *(point for point in held if point not in told)]:
        _match(point, told.get(point), held.get(point, []), difference)
    return difference


def _match(point: Point, told: Counter[Amount] | None, held: list[Stored], found: Difference) -> None:
    left = Counter(told or {})
    others: list[Stored] = []
    for value in held:
        if left[value.amount] > 0:
            left[value.amount] -= 1
        else:
            others.append(value)
    wanted = list(left.elements())
    for amount, value in zip(wanted, others, strict=False):
        found.altered.add(value.row)
        found.problems.append(f"altered: {point}: told {amount}, stored {value.amount}")
    for amount in wanted[len(others) :]:
        found.missing[point.place] += 1
        found.problems.append(f"missing: {point}: {amount}")
    for value in others[len(wanted) :]:
        kind, counter = ("unexpected", found.unexpected) if told is None else ("doubled", found.doubled)
        counter[point.place] += 1
        found.problems.append(f"{kind}: {point}: {value.amount} in packet {value.row.tracing_code}")
