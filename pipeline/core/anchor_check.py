"""Holding a chain against anchors: does it still begin with what they state, and if not, where does it part first.

Fed with the blocks of a chain that is good by itself, in order. What the anchors' hashes can't tell apart stays a
range; several anchors narrow one another. Memory is bounded by the anchors, not by the chain.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from pipeline.core.anchor import Anchor
from pipeline.core.merkle import Frontier

_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class LeafPlace:
    """A leaf of the chain: its index in the tree, its block, its entry there; None for the block's header."""

    index: int
    height: int
    entry: int | None

    def __str__(self) -> str:
        return f"block {self.height}, " + ("its header" if self.entry is None else f"entry {self.entry}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one anchor: ``agrees`` is None where the chain ends before it and agrees as far as can be told."""

    anchor: Anchor
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first leaf that differs from what the anchors state is one of these, ``first`` to ``last``.

    ``anchors`` name those that differ. Where ``first`` comes after ``last``, the anchors contradict one another.
    """

    first: LeafPlace
    last: LeafPlace
    anchors: tuple[str, ...]

    @property
    def is_contradiction(self) -> bool:
        """Whether no chain at all could agree with all of the anchors."""
        return self.first.index > self.last.index

    def __str__(self) -> str:
        names = _names(self.anchors)
        if self.is_contradiction:
            return (
                f"no history agrees with all anchors; {names} and others were certified for two histories that part"
                f" at leaf {self.last.index} or before"
            )
        if self.first.index == self.last.index:
            return f"leaf {self.first.index} ({self.first}) is the first that differs from {names}"
        return (
            f"the first leaf that differs from {names} is one of {self.first.index} to {self.last.index}"
            f" ({self.first} to {self.last})"
        )


@dataclass(frozen=True, slots=True)
class AnchorReport:
    """What came of all anchors.

    ``agreed`` counts the leaves at the beginning of the chain that the anchors confirm; ``size`` those of the chain.
    """

    verdicts: tuple[Verdict, ...]
    agreed: int
    size: int
    divergence: Divergence | None

    @property
    def beyond(self) -> tuple[Anchor, ...]:
        """The anchors of trees that the chain does not reach."""
        return tuple(verdict.anchor for verdict in self.verdicts if verdict.agrees is None)

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON value."""
        found = self.divergence
        return {
            "anchors": [
                {
                    "name": verdict.anchor.name,
                    "kind": verdict.anchor.kind.value,
                    "tree_size": verdict.anchor.size,
                    "agrees": verdict.agrees,
                }
                for verdict in self.verdicts
            ],
            "agreed_leaves": self.agreed,
            "divergence": None
            if found is None
            else {
                "first": _place_json(found.first),
                "last": _place_json(found.last),
                "anchors": list(found.anchors),
                "anchors_contradict": found.is_contradiction,
            },
        }


NO_ANCHORS: Final = AnchorReport((), 0, 0, None)


@dataclass(slots=True)
class _Claim:
    """What an anchor says of the leaves [low, high), and whether the chain holds it; None until they were all seen.

    ``hash`` is the root over them, which ``grown`` grows towards, or, of a link, the hash of the block that ends them.
    """

    anchor: Anchor
    low: int
    high: int
    hash: bytes
    is_link: bool
    grown: Frontier = Frontier.EMPTY
    holds: bool | None = None

    def grow(self, first: int, leaf_hashes: Sequence[bytes], block_hash: bytes) -> None:
        """Take what belongs to the claim of a block that begins with leaf ``first``."""
        end = first + len(leaf_hashes)
        if self.is_link:
            if self.high <= end:
                self.holds = (self.high, self.hash) == (end, block_hash)
            return
        self.grown = self.grown.extend(leaf_hashes[max(0, self.low - first) : self.high - first])
        if self.high <= end:
            self.holds = self.grown.root() == self.hash


class AnchorCheck:
    """Compares a chain with anchors while it grows, from its first block on."""

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        self._anchors = tuple(anchors)
        self._claims = [claim for anchor in anchors for claim in _claims_of(anchor)]
        self._open = sorted(self._claims, key=lambda claim: claim.low)
        edges = {index for claim in self._claims for index in (0, claim.low, claim.high - 1, claim.high)}
        self._wanted = sorted(edges)
        self._places: dict[int, LeafPlace] = {}
        self._size = 0

    def grow(self, height: int, block_hash: bytes, leaf_hashes: Sequence[bytes]) -> None:
        """Take the next block of the chain and its leaf hashes: of its entries, then of its header."""
        if not self._anchors:
            return
        first, self._size = self._size, self._size + len(leaf_hashes)
        self._note_places(first, height)
        for claim in self._open:
            if claim.low >= self._size:
                break
            claim.grow(first, leaf_hashes, block_hash)
        self._open = [claim for claim in self._open if claim.holds is None]

    def _note_places(self, first: int, height: int) -> None:
        at = bisect_left(self._wanted, first)
        for index in self._wanted[at : bisect_left(self._wanted, self._size, at)]:
            entry = index - first if index < self._size - 1 else None
            self._places[index] = LeafPlace(index, height, entry)

    def progress(self) -> dict[str, Any]:
        """Return what ``go_on_from`` needs, as a JSON value."""
        return {
            "anchors": _fingerprint(self._anchors),
            "size": self._size,
            "claims": [[claim.grown.encode().hex(), claim.holds] for claim in self._claims],
            "places": [[place.index, place.height, place.entry] for place in self._places.values()],
        }

    def go_on_from(self, progress: Mapping[str, Any]) -> bool:
        """Take up what ``progress`` gave; False, and nothing is changed, where that was with other anchors."""
        if progress["anchors"] != _fingerprint(self._anchors):
            return False
        self._size = progress["size"]
        for claim, (grown, holds) in zip(self._claims, progress["claims"], strict=True):
            claim.grown, claim.holds = Frontier.decode(bytes.fromhex(grown)), holds
        self._places = {index: LeafPlace(index, height, entry) for index, height, entry in progress["places"]}
        self._open = [claim for claim in self._open if claim.holds is None]
        return True

    def report(self) -> AnchorReport:
        """Return what came of the anchors, the chain ending with the last block taken."""
        told = [claim for claim in self._claims if claim.holds is not None]
        broken = [claim for claim in told if not claim.holds]
        differing = tuple(a for a in self._anchors if any(claim.anchor is a for claim in broken))
        agreed = _agreed([(claim.low, claim.high) for claim in told if claim.holds])
        divergence = None
        if broken:
            end = min(claim.high for claim in broken)
            last = self._places[end - 1]
            first = self._places[agreed] if agreed < end else replace(last, index=agreed)
            divergence = Divergence(first, last, tuple(anchor.name for anchor in differing))
        verdicts = [Verdict(anchor, self._verdict(anchor, differing)) for anchor in self._anchors]
        return AnchorReport(tuple(verdicts), agreed, self._size, divergence)

    def _verdict(self, anchor: Anchor, differing: Iterable[Anchor]) -> bool | None:
        if any(other is anchor for other in differing):
            return False
        return True if anchor.size <= self._size else None


def _claims_of(anchor: Anchor) -> Iterator[_Claim]:
    for piece in anchor.pieces:
        yield _Claim(anchor, piece.low, piece.high, piece.root, is_link=False)
    for link in anchor.links:
        yield _Claim(anchor, 0, link.size, link.block_hash, is_link=True)


def _fingerprint(anchors: Iterable[Anchor]) -> str:
    """Return what tells these statements from others, whatever their files are called."""
    said = [(anchor.size, anchor.root, anchor.pieces, anchor.links) for anchor in anchors]
    return sha256(repr(said).encode()).hexdigest()


def _agreed(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many leaves from the first on are covered."""
    end = 0
    for low, high in sorted(ranges):
        if low > end:
            break
        end = max(end, high)
    return end


def _place_json(place: LeafPlace) -> dict[str, Any]:
    return {"leaf": place.index, "height": place.height, "entry": place.entry}


def _names(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
