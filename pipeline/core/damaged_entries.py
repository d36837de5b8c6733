"""Naming the first entry field of a block that is wrong by itself or beside the entries around it.

Offsets ascend, so of two that do not, either may be the wrong one: those around them tell which. Where they can't,
the bytes of both are named.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

from pipeline.core.admission import SignatureCheck, enact, judge
from pipeline.core.avro_places import Path, Place
from pipeline.core.block import Entry, Kind, parse_block
from pipeline.core.control import Control, Reanchor, parse_control
from pipeline.core.derive import entries_root
from pipeline.core.outcome import Outcome
from pipeline.core.packet import Packet, parse_packet
from pipeline.core.replica import parse_entry
from pipeline.core.state import ChainState

HEADER: Final = ("block", "header")
ENTRIES: Final = ("block", "entries")


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


def named(place: Place, detail: str) -> Damage:
    """Return the damage of one field."""
    path = place.path
    entry = path[2] if len(path) > 2 and path[:2] == ENTRIES and isinstance(path[2], int) else None
    names = [str(part) for part in (path if entry is None else path[3:]) if part not in ("block",)]
    return Damage(".".join(names) or "entry", entry, place.start, place.end, detail)


def begins_anew(state: ChainState, values: dict[Path, Place]) -> bool:
    """Tell whether a block means to go on in another copy of the log: by its first entry, or else by its header."""
    payload, stated = values.get((*ENTRIES, 0, "payload")), values.get((*HEADER, "source", "incarnation"))
    if payload is not None and payload.value is not None:
        control = parse_control(payload.value)
        if isinstance(control, Control):
            return isinstance(control.body, Reanchor)
        if isinstance(parse_packet(payload.value), Packet):
            return False
    return stated is not None and stated.value == state.head.incarnation + 1


class DamagedEntries:
    """Walks the entries of a block; ``first_bad`` leaves the state as it found it."""

    def __init__(
        self, state: ChainState, values: dict[Path, Place], data: bytes, check: SignatureCheck
    ) -> None:
        self._state = state
        self._values = values
        self._check = check
        self._is_anew = begins_anew(state, values)
        first = self._number(*HEADER, "source", "first") if self._is_anew else state.head.next_offset
        self._offsets = [(first or 0) - 1]
        self._end = self._end_of_offsets(data)

    def first_bad(self) -> Damage | None:
        """Return the first entry field that is wrong by itself or beside the entries around it."""
        index, damage = 0, self._wrong_first() or self._impossible_end()
        try:
            while damage is None and (*ENTRIES, index, "payload") in self._values:
                damage = self._one(index)
                index += 1
        finally:
            self._state.undo()
        return damage

    def _wrong_first(self) -> Damage | None:
        """Return which is wrong where a block does not begin at its reanchor: its header, or the entry's offset."""
        first, offset = (
            self._values.get((*HEADER, "source", "first")),
            self._values.get((*ENTRIES, 0, "offset")),
        )
        if not self._is_anew or first is None or offset is None or first.value == offset.value:
            return None
        if self._number(*ENTRIES, 0, "kind") not in tuple(Kind):
            return None  # the bytes before the offset are wrong, and with them the offset
        is_first = self._end == inf or first.value < 0
        return named(first if is_first else offset, "the block does not begin at its reanchor")

    def _impossible_end(self) -> Damage | None:
        end = self._values.get((*HEADER, "source", "next"))
        if end is None or end.value is None or end.value > self._offsets[0] + 1:
            return None
        return named(end, f"does not follow offset {self._offsets[0]}, before which the block begins")

    def _end_of_offsets(self, data: bytes) -> float:
        """Return the offset that no entry reaches; none where the entries' root vouches for the entries."""
        end, certificate = self._number(*HEADER, "source", "next"), self._values.get(("certificate",))
        block = None if certificate is None else parse_block(data[: certificate.start])
        is_proved = block is not None and entries_root(block.entries) == block.header.entries_root
        return inf if end is None or is_proved else end

    def _number(self, *path: str | int) -> int | None:
        """Return the value at a path; None where the bytes end before it or make no sense there."""
        place = self._values.get(path)
        return None if place is None else place.value

    def _one(self, index: int) -> Damage | None:
        kind, offset, time, payload = (
            self._values[(*ENTRIES, index, name)] for name in ("kind", "offset", "time", "payload")
        )
        start = self._values[(*HEADER, "period_start")].value
        if kind.value not in (Kind.PACKET, Kind.CONTROL):
            return named(kind, f"{kind.value} is no kind of entry")
        if offset.value <= self._offsets[-1]:
            return self._out_of_order(index)
        if offset.value >= self._end:
            return named(offset, f"does not come before offset {self._end}, where the block ends")
        if not 0 <= time.value - start < self._state.contract.period_ms:
            return named(time, "outside of the block's period")
        if payload.value is None:
            return None
        self._offsets.append(offset.value)
        entry = Entry(Kind(kind.value), offset.value, time.value, payload.value)
        parsed = parse_entry(entry)
        if isinstance(parsed, Outcome):
            other = Kind.CONTROL if entry.kind is Kind.PACKET else Kind.PACKET
            if not isinstance(parse_entry(replace(entry, kind=other)), Outcome):
                return named(kind, f"the payload is of kind {other}")
            return named(payload, f"not admissible at its place: {parsed.label}")
        opens_block = self._is_anew and index == 0
        outcome = judge(self._state, parsed, time.value, self._check, opens_block=opens_block)
        if outcome is not Outcome.ADMITTED:
            return named(payload, f"not admissible at its place: {outcome.label}")
        enact(self._state, parsed)
        return None

    def _out_of_order(self, index: int) -> Damage:
        """Return which is wrong of two neighbouring offsets that do not ascend, or both where none can tell."""
        this, before = (
            self._values[(*ENTRIES, index, "offset")],
            self._values.get((*ENTRIES, index - 1, "offset")),
        )
        after = self._number(*ENTRIES, index + 1, "offset")
        following = self._end if after is None else after
        damage = named(this, f"does not follow offset {self._offsets[-1]}")
        if before is None:
            return damage
        without_before = self._offsets[-2] < this.value < following
        without_this = self._offsets[-1] < following
        if without_this and not without_before:
            return damage
        fault = named(before, f"does not come before offset {this.value}, which follows")
        return fault if without_before and not without_this else replace(fault, end=this.end)
