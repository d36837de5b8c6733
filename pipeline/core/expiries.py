"""What of a deployment ends when, the soonest of each kind: pure, from the state of a chain."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.core.state import ChainState

DAY_MS: Final = 86_400_000
WARN_DAYS: Final = {
    "suite": 30,
    "platform key": 5,
    "certificate": 5,
    "certificate elsewhere": 5,
    "authority": 60,
}
"""Days before its end at which something of a kind needs a person: what renews by itself should have done so."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """What ends next of a kind: its name, its end (GMT ms), and how many others of the kind there are."""

    kind: str
    name: str
    ends_ms: int
    others: int = 0

    def days_left(self, now_ms: int) -> float:
        """Return the days until the end; negative after it."""
        return (self.ends_ms - now_ms) / DAY_MS

    def is_near(self, now_ms: int) -> bool:
        """Whether somebody should do something about it."""
        return self.days_left(now_ms) < WARN_DAYS[self.kind]


def soonest(kind: str, ends: Iterable[tuple[str, int]]) -> Iterator[Expiry]:
    """Yield what ends first of named ends (GMT ms); nothing where there are none."""
    found = sorted(ends, key=lambda one: (one[1], one[0]))
    if found:
        yield Expiry(kind, *found[0], len(found) - 1)


def chain_expiries(state: ChainState) -> list[Expiry]:
    """Return every suite of the contract that ends, and the soonest of the newest platform keys of active sites."""
    found = [
        Expiry("suite", term.suite.name.lower(), term.expires_ms)
        for term in state.contract.suites
        if term.expires_ms
    ]
    found.sort(key=lambda one: one.ends_ms)
    newest = [
        (f"{name} {kind.name.lower()}", end)
        for name, offers in state.tables.offers.items()
        if name in state.tables.sites and state.tables.sites[name].active
        for kind, end in {offer.key.algorithm: offer.valid_to for offer in offers}.items()
    ]
    return [*found, *soonest("platform key", newest)]
