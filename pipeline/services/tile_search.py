"""Finding things in an exported log: the header of a height, and control records before a leaf, of a site or the chain.

Headers lie in order of height, so they are searched by halving; control records have no order and are found by
looking through the bundles backwards once. Nothing found is believed: the proof built from it is verified.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pipeline.core.block import Header, Kind, parse_header, parse_leaf
from pipeline.core.control import (
    Amend,
    BackfillGrant,
    Control,
    Enrol,
    KeyOffer,
    NewContract,
    Registrars,
    parse_control,
)
from pipeline.core.names import SiteName
from pipeline.core.tiles import TILE_WIDTH
from pipeline.services.tile_reader import TileReader, UnreadableError, bundle_path

_CACHED_HEADERS: Final = 1024

Right = Enrol | Amend | KeyOffer | BackfillGrant | Registrars | NewContract
"""What control records say that let a site's packets in."""


@dataclass(frozen=True, slots=True)
class FoundRight:
    """A control record in the log: leaf index, issuer (fingerprint, 32 bytes), and what it says."""

    leaf_index: int
    issuer: bytes
    body: Right


@dataclass(frozen=True, slots=True)
class FoundHeader:
    """A block header, its encoding, and its leaf index."""

    header: Header
    payload: bytes
    leaf_index: int


class HeaderSearch:
    """Finds block headers by height in a tree that ends with one."""

    def __init__(self, tiles: TileReader) -> None:
        self._tiles = tiles
        self._last: FoundHeader | None = None
        self.find = lru_cache(maxsize=_CACHED_HEADERS)(self._find)
        """``find(height)`` returns the header of a height, or None for one that the tree has not got."""

    def _find(self, height: int) -> FoundHeader | None:
        """Search the header of a height.

        Raises:
            UnreadableError: the log is damaged on the way.
        """
        self._last = self._last or self._next_from(self._tiles.size - 1)
        low, high, lowest, highest = 0, self._tiles.size, 1, self._last.header.height
        is_halving = False
        while lowest <= height <= highest:
            # The middle of its block, if all blocks were of one size.
            share = (2 * (height - lowest) + 1) * (high - low) // (2 * (highest - lowest + 1))
            guess = low + ((high - low) // 2 if is_halving else share)
            is_halving = not is_halving  # blocks of very different sizes mislead the reckoned guess
            found = self._next_from(guess)
            header = found.header
            spans = low <= header.first_index <= guess <= found.leaf_index < high
            if not spans or not lowest <= header.height <= highest:
                raise UnreadableError(bundle_path(found.leaf_index), "its headers do not follow one another")
            if header.height == height:
                return found
            if header.height > height:
                high, highest = header.first_index, header.height - 1
            else:
                low, lowest = found.leaf_index + 1, header.height + 1
        return None

    def _next_from(self, index: int) -> FoundHeader:
        """Return the first header from a leaf on: that of the leaf's block."""
        number, start = divmod(index, TILE_WIDTH)
        while number * TILE_WIDTH < self._tiles.size:
            place = self._tiles.bundle(number).first(Kind.HEADER, start)
            if place is not None:
                return self._parsed(number * TILE_WIDTH + place)
            number, start = number + 1, 0
        raise UnreadableError(bundle_path(self._tiles.size - 1), "the tree does not end with a block header")

    def _parsed(self, index: int) -> FoundHeader:
        leaf = parse_leaf(self._tiles.entry(index))
        header = None if leaf is None else parse_header(leaf[3])
        if leaf is None or header is None or header.tree_size != index + 1:
            raise UnreadableError(bundle_path(index), f"leaf {index} is no block header")
        return FoundHeader(header, leaf[3], index)


class RightsSearch:
    """Finds control records of a site, or of the chain itself (None); remembers what it looked through."""

    def __init__(self, tiles: TileReader) -> None:
        self._tiles = tiles
        self._low = self._high = 0
        self._rights: dict[SiteName | None, list[FoundRight]] = {}

    def before(self, site: SiteName | None, index: int) -> Iterator[FoundRight]:
        """Yield a site's, or the chain's, rights before a leaf, the latest first.

        Raises:
            UnreadableError: the log is damaged on the way.
        """
        self._look_up_to(index // TILE_WIDTH)
        while True:
            known = self._rights.get(site, [])
            at = bisect_left(known, index, key=lambda item: item.leaf_index)
            yield from reversed(known[:at])
            index, count = self._low * TILE_WIDTH, len(known)
            while self._low and len(self._rights.get(site, ())) == count:
                self._look_down()
            if len(self._rights.get(site, ())) == count:
                return

    def _look_up_to(self, bundle: int) -> None:
        """Look through the bundles from those already known to this one."""
        if not self._high:
            self._low = self._high = bundle
        while self._high <= bundle:
            for site, right in self._rights_in(self._high):
                self._rights.setdefault(site, []).append(right)
            self._high += 1
        while self._low > bundle:
            self._look_down()

    def _look_down(self) -> None:
        self._low -= 1
        for site, right in reversed(self._rights_in(self._low)):
            self._rights.setdefault(site, []).insert(0, right)

    def _rights_in(self, number: int) -> list[tuple[SiteName | None, FoundRight]]:
        bundle = self._tiles.bundle(number)
        found: list[tuple[SiteName | None, FoundRight]] = []
        for place in bundle.all(Kind.CONTROL):
            leaf = parse_leaf(bundle[place])
            control = None if leaf is None else parse_control(leaf[3])
            if isinstance(control, Control) and isinstance(control.body, Right):
                site = None if isinstance(control.body, Registrars | NewContract) else control.body.site
                found.append((site, FoundRight(number * TILE_WIDTH + place, control.issuer, control.body)))
        return found
