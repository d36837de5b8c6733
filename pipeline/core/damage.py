"""Naming the first bad bytes of a block that does not extend a chain: entry, field, and place in the file.

The fields are held, in the order of their bytes, against the chain so far, the contract and the signatures. What is
named is the first field that can't be right; which bit of it was changed, nobody can know.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from pipeline.core.admission import SignatureCheck, enact, is_signed, judge
from pipeline.core.avro_places import Path, Place, places
from pipeline.core.block import (
    CERTIFIED_BLOCK,
    HEADER_VERSION,
    Block,
    Entry,
    Kind,
    make_block,
    parse_certified,
)
from pipeline.core.derive import entries_root
from pipeline.core.outcome import Outcome
from pipeline.core.quorum import Certified, check_certificate
from pipeline.core.replica import parse_entry
from pipeline.core.state import ChainState

_HEADER: Final = ("block", "header")
_ENTRIES: Final = ("block", "entries")


@dataclass(frozen=True, slots=True)
class Damage:
    """The first field that can't be right: its name, its entry if it is in one, and its bytes [start, end)."""

    field: str
    entry: int | None
    start: int
    end: int
    detail: str

    def __str__(self) -> str:
        where = f"entry {self.entry}, " if self.entry is not None else ""
        return f"{where}field {self.field}, bytes {self.start} to {self.end - 1}: {self.detail}"


def locate_damage(state: ChainState, data: bytes, check: SignatureCheck = is_signed) -> Damage | None:
    """Return the first bad field of an encoded certified block that does not extend ``state``.

    None for a block that is good. The state stays as it is. Total.
    """
    found = list(places(CERTIFIED_BLOCK, data))
    values = {place.path: place for place in found}
    damage = (
        _bad_header(state, found, data)
        or _bad_period(state, values)
        or _bad_count(values, is_whole=found[-1].value is not None)
        or _Entries(state, values, check).first_bad()
    )
    if damage is not None:
        return damage
    if found[-1].value is None:
        return _named(found[-1], "these bytes are not of the block's form")
    parsed = parse_certified(data)
    if parsed is None:
        return Damage("block", None, 0, len(data), "these bytes are not a canonical certified block")
    return _bad_whole(state, *parsed, values)


def _named(place: Place, detail: str) -> Damage:
    path = place.path
    entry = path[2] if len(path) > 2 and path[:2] == _ENTRIES and isinstance(path[2], int) else None
    names = [str(part) for part in (path if entry is None else path[3:]) if part not in ("block",)]
    return Damage(".".join(names) or "entry", entry, place.start, place.end, detail)


def _bad_header(state: ChainState, found: list[Place], data: bytes) -> Damage | None:
    """Return the first header field that does not follow from the chain so far."""
    expected = _expected_header(state)
    unruled: list[Place] = []
    for place in found:
        if place.path[:2] != _HEADER or place.value is None:
            break
        rule = expected.get(place.path)
        if rule is None:
            unruled.append(place)
        elif rule(place.value):
            unruled.clear()
        elif unruled and _is_shifted(state, found, data):
            # A length or number before it, which nothing rules, took too many or too few bytes.
            return replace(_named(unruled[0], "is not what the header after it calls for"), end=place.end)
        else:
            return _named(place, "does not follow from the chain before it and its contract")
    return None


def _is_shifted(state: ChainState, found: list[Place], data: bytes) -> bool:
    """Say whether the contract's hash is in the bytes, but not where the walk came upon it."""
    start = next((place.start for place in found if place.path == (*_HEADER, "contract_hash")), -1)
    return data.find(state.contract.hash) not in (-1, start)


def _expected_header(state: ChainState) -> dict[Path, Callable[[Any], bool]]:
    head, genesis, length = state.head, state.genesis, state.contract.period_ms

    def equals(value: Any) -> Callable[[Any], bool]:
        encoded = value.encode() if isinstance(value, str) else value
        return lambda found: bool(found == encoded)

    rules = {
        "version": equals(HEADER_VERSION),
        "rules_version": equals(state.rules_version),
        "chain": equals(genesis.chain),
        "chain_id": equals(genesis.url),
        "height": equals(head.height + 1),
        "period_start": lambda start: start >= 0 and start % length == 0,
        "period_end": lambda end: end > 0 and end % length == 0,
        "previous_hash": equals(head.block_hash),
        "first_index": equals(head.frontier.size),
        "contract_hash": equals(state.contract.hash),
    }
    source = {
        "incarnation": equals(head.incarnation),
        "topic": equals(genesis.topic),
        "partition": equals(genesis.partition),
        "first": equals(head.next_offset),
    }
    return {(*_HEADER, name): rule for name, rule in rules.items()} | {
        (*_HEADER, "source", name): rule for name, rule in source.items()
    }


def _bad_period(state: ChainState, values: dict[Path, Place]) -> Damage | None:
    """Return the end of the period that contradicts the other end and the first entry's time."""
    start, end = values.get((*_HEADER, "period_start")), values.get((*_HEADER, "period_end"))
    time = values.get((*_ENTRIES, 0, "time"))
    length = state.contract.period_ms
    if (
        start is None
        or end is None
        or time is None
        or time.value is None
        or end.value - start.value == length
    ):
        return None
    wrong = start if start.value != time.value - time.value % length else end
    return _named(wrong, "is not of the period of the first entry")


def _bad_count(values: dict[Path, Place], *, is_whole: bool) -> Damage | None:
    """Return which of the two counts of entries is wrong: where the bytes fit the second, the first one is."""
    count, entries = values.get((*_HEADER, "entry_count")), values.get(_ENTRIES)
    if count is None or entries is None or entries.value is None or entries.value == count.value > 0:
        return None
    return _named(count if is_whole else entries, "is not the number of entries")


class _Entries:
    """Walks the entries of a block; ``first_bad`` leaves the state as it found it."""

    def __init__(self, state: ChainState, values: dict[Path, Place], check: SignatureCheck) -> None:
        self._state = state
        self._values = values
        self._check = check
        self._last_offset = state.head.next_offset - 1

    def first_bad(self) -> Damage | None:
        """Return the first entry field that is wrong by itself or after the entries before it."""
        index, damage = 0, None
        try:
            while damage is None and (*_ENTRIES, index, "payload") in self._values:
                damage = self._one(index)
                index += 1
        finally:
            self._state.undo()
        return damage

    def _one(self, index: int) -> Damage | None:
        kind, offset, time, payload = (
            self._values[(*_ENTRIES, index, name)] for name in ("kind", "offset", "time", "payload")
        )
        start = self._values[(*_HEADER, "period_start")].value
        if kind.value not in (Kind.PACKET, Kind.CONTROL):
            return _named(kind, f"{kind.value} is no kind of entry")
        if offset.value <= self._last_offset:
            return _named(offset, f"does not follow offset {self._last_offset}")
        if not 0 <= time.value - start < self._state.contract.period_ms:
            return _named(time, "outside of the block's period")
        if payload.value is None:
            return None
        self._last_offset = offset.value
        parsed = parse_entry(Entry(Kind(kind.value), offset.value, time.value, payload.value))
        outcome = (
            parsed if isinstance(parsed, Outcome) else judge(self._state, parsed, time.value, self._check)
        )
        if isinstance(parsed, Outcome) or outcome is not Outcome.ADMITTED:
            return _named(payload, f"not admissible at its place: {outcome.label}")
        enact(self._state, parsed)
        return None


def _bad_whole(
    state: ChainState, block: Block, certificate: bytes, values: dict[Path, Place]
) -> Damage | None:
    """Return what is wrong where every field could be right by itself: the certificate tells."""
    certified = check_certificate(certificate, state.genesis.origin, state.policy)
    if not isinstance(certified, Certified):
        return _named(values[("certificate",)], f"{certified.reason}: {certified.detail}")
    if _is_certified(state, block, certified):
        return None
    root = entries_root(block.entries)
    if root != block.header.entries_root:
        mended = make_block(replace(block.header, entries_root=root), block.entries)
        if _is_certified(state, mended, certified):
            return _named(values[(*_HEADER, "entries_root")], "is not the root of the entries")
        first, last = values[_ENTRIES], values[("certificate",)]
        detail = "offset or time of an entry is not the certified one"
        return Damage("entries", None, first.end, last.start, detail)
    for part in (block.header.part, state.head.part + 1, 0):
        mended = make_block(replace(block.header, part=part), block.entries)
        if part != block.header.part and _is_certified(state, mended, certified):
            return _named(values[(*_HEADER, "part")], "is not the certified one")
    start, end = values[(*_HEADER, "period_start")].start, values[(*_HEADER, "log_digest")].end
    detail = "period, source or log digest are not the certified ones, or the certificate is another block's"
    return Damage("header", None, start, end, detail)


def _is_certified(state: ChainState, block: Block, certified: Certified) -> bool:
    after = state.head.frontier.extend(block.leaf_hashes)
    return (certified.checkpoint.size, certified.checkpoint.root) == (after.size, after.root())
