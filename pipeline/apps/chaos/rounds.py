"""Which faults each round strikes with, and the file of results, so that a campaign can be stopped and resumed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Final

from pipeline.apps.chaos.faults import FAULTS, STEP, Fault
from pipeline.core.errors import ConfigError

_COMBINED: Final = 0.25


@dataclass(frozen=True, slots=True)
class Round:
    """One round: its number from 0, its faults in the order in which they strike, and dice of its own."""

    number: int
    faults: tuple[Fault, ...]
    dice: Random


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the file of results; ``recovery_s`` is None where the stack did not recover in time."""

    seed: int
    round: int
    faults: tuple[str, ...]
    details: tuple[str, ...]
    recovery_s: float | None
    seconds: float
    values: int
    height: int
    lost: int
    doubled: int
    altered: int
    restarts: int
    problems: tuple[str, ...]
    brokers: int = 1

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong and the stack recovered."""
        bad = self.lost or self.doubled or self.altered or self.problems
        return not bad and self.recovery_s is not None


def planned(seed: int, number: int, chosen: Sequence[Fault]) -> Round:
    """Return a round: the same for the same seed and faults, whatever rounds were before.

    All faults come once before one comes again; some rounds take a second one that strikes other programs.
    """
    cycle, place = divmod(number, len(chosen))
    order = list(chosen)
    Random(f"{seed}/{cycle}").shuffle(order)  # noqa: S311  which fault comes is no secret
    dice = Random(f"{seed}/{cycle}/{place}")  # noqa: S311
    faults = [order[place]]
    others = [other for other in chosen if not other.touches & faults[0].touches and other is not faults[0]]
    if others and dice.random() < _COMBINED:
        faults.append(dice.choice(others))
    # A step first: the other fault may keep programs from ever coming to it.
    faults.sort(key=lambda fault: not fault.name.startswith(STEP))
    return Round(number, tuple(faults), dice)


def chosen_faults(names: str) -> list[Fault]:
    """Return the faults named in a list with commas; a name with ``*`` at its end takes all that begin so.

    Raises:
        ConfigError: there is no such fault.
    """
    if not names:
        return list(FAULTS.values())
    found: dict[str, Fault] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        beginning = name.removesuffix("*")
        fits = [
            fault
            for fault in FAULTS.values()
            if fault.name == name or (beginning != name and fault.name.startswith(beginning))
        ]
        if not fits:
            raise ConfigError(f"--faults {name}: there is no such fault; `bkdms chaos list` shows them")
        found |= {fault.name: fault for fault in fits}
    return list(found.values())


def results(file: Path) -> Iterator[Result]:
    """Yield what is in a file of results, oldest first; none where there is no file.

    Raises:
        ConfigError: a line of it is no result.
    """
    if not file.exists():
        return
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        try:
            item = json.loads(line)
            lists = {name: tuple(item[name]) for name in ("faults", "details", "problems")}
            yield Result(**(item | lists))
        except (ValueError, TypeError, KeyError):
            raise ConfigError(
                f"{file}, line {number}: is no result of bkdms chaos; name another file"
            ) from None


def append(file: Path, result: Result) -> None:
    """Add a line to a file of results."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(asdict(result)) + "\n")


def remaining(file: Path, seed: int, rounds: int, brokers: int = 1) -> range:
    """Return the numbers of the rounds that a campaign, on so many brokers, still has to play."""
    done = [result.round + 1 for result in results(file) if (result.seed, result.brokers) == (seed, brokers)]
    return range(max(done, default=0), rounds)
