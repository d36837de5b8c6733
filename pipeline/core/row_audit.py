"""Comparing a store's rows with those that follow from the ledger: edited, removed, added, reordered.

Owns no table and no query. Contents of tables that hold plain values are compared and never shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Row = Mapping[str, Any]
MAX_LISTED: Final = 100
_MAX_SHOWN_CHARS: Final = 40
_SHOWN_COLUMNS: Final = 3


@dataclass(frozen=True, slots=True)
class TableForm:
    """A table: its name, the columns that find a row, and whether its contents are plain values."""

    name: str
    key: tuple[str, ...]
    is_plain: bool = False

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """Return the values that find a row."""
        return tuple(row[name] for name in self.key)


class RowChange(StrEnum):
    """What was done to a row."""

    EDITED = "edited"
    REMOVED = "removed"
    ADDED = "added"
    REORDERED = "reordered"


@dataclass(frozen=True, slots=True)
class RowFinding:
    """A row that is not what the ledger gives: its table, key and columns; ``detail`` is for people."""

    table: str
    key: tuple[tuple[str, Any], ...]
    change: RowChange
    columns: tuple[str, ...]
    detail: str

    def __str__(self) -> str:
        key = " ".join(f"{name}={_shown(value)}" for name, value in self.key)
        columns = f", column {', '.join(self.columns)}" if self.columns else ""
        return f"table {self.table}, row {key}{columns}: {self.change.value}: {self.detail}"

    def as_json(self) -> dict[str, Any]:
        """Return the finding as a JSON value; bytes of keys in hex."""
        return {
            "table": self.table,
            "key": {name: value.hex() if isinstance(value, bytes) else value for name, value in self.key},
            "change": self.change.value,
            "columns": list(self.columns),
            "detail": self.detail,
        }


@dataclass(slots=True)
class _Found:
    """A row that differs: as the ledger gives it and as it is held, where there is one."""

    form: TableForm
    expected: Row | None
    held: Row | None
    note: str = ""
    columns: tuple[str, ...] = ()


class RowFindings:
    """Collects what differs; the first ``MAX_LISTED`` rows are kept to be named, the others counted."""

    def __init__(self) -> None:
        self._found: list[_Found] = []
        self.count = 0

    def compare(self, form: TableForm, expected: Iterable[Row], held: Iterable[Row]) -> None:
        """Compare the rows of a table, or of a part of it that holds whole rows."""
        left = {form.key_of(row): row for row in held}
        for row in expected:
            found = left.pop(form.key_of(row), None)
            if found is None or _differing(row, found):
                self._add(_Found(form, row, found))
        for row in left.values():
            self.add(form, row)

    def add(self, form: TableForm, held: Row) -> None:
        """Note a row that the ledger gives no reason for."""
        self._add(_Found(form, None, held))

    def note(self, form: TableForm, held: Row, columns: tuple[str, ...], detail: str) -> None:
        """Note a row that can't be right, where the right one is not known."""
        self._add(_Found(form, None, held, detail, columns))

    def listed(self) -> list[RowFinding]:
        """Return what was kept, rows that only changed places with another or got another key as such."""
        left, findings = list(self._found), []
        while left:
            found = left.pop(0)
            partner = next((other for other in left if _is_pair(found, other)), None)
            if partner is not None:
                left.remove(partner)
            findings.append(_finding(found, partner))
        return findings

    def _add(self, found: _Found) -> None:
        self.count += 1
        if len(self._found) < MAX_LISTED:
            self._found.append(found)


def _differing(expected: Row, held: Row) -> tuple[str, ...]:
    return tuple(name for name, value in expected.items() if held.get(name) != value)


def _content(form: TableForm, row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in form.key}


def _is_pair(one: _Found, other: _Found) -> bool:
    """Tell whether two rows are one that moved to another key, or two that changed places."""
    if one.form != other.form or one.note or other.note:
        return False
    halves = [(one.expected, other.held), (other.expected, one.held)]
    whole = [(a, b) for a, b in halves if a is not None and b is not None]
    return (
        bool(whole)
        and all((a is None) == (b is None) for a, b in halves)
        and all(_content(one.form, a) == _content(one.form, b) for a, b in whole)
    )


def _finding(found: _Found, partner: _Found | None) -> RowFinding:
    form, expected, held = found.form, found.expected, found.held
    key = _named_key(form, expected or held or {})
    if found.note:
        return RowFinding(form.name, key, RowChange.EDITED, found.columns, found.note)
    if partner is not None and expected is not None and held is not None:
        other = ", ".join(str(_shown(value)) for value in form.key_of(partner.expected or {}))
        detail = f"it holds what belongs into row {other}, and that row what belongs here"
        return RowFinding(form.name, key, RowChange.REORDERED, _differing(expected, held), detail)
    if partner is not None:
        expected, held = expected or partner.expected, held or partner.held
    if expected is None:
        return RowFinding(form.name, key, RowChange.ADDED, (), "the ledger gives no such row")
    key = _named_key(form, expected)
    if held is None:
        return RowFinding(form.name, key, RowChange.REMOVED, (), "the ledger gives this row")
    columns = _differing(expected, held)
    return RowFinding(form.name, key, RowChange.EDITED, columns, _told(form, columns, expected, held))


def _named_key(form: TableForm, row: Row) -> tuple[tuple[str, Any], ...]:
    return tuple((name, row[name]) for name in form.key if name in row)


def _told(form: TableForm, columns: Sequence[str], expected: Row, held: Row) -> str:
    if form.is_plain:
        return "not what the packet holds"
    shown = [f"{name} is {_shown(held.get(name))}, not {_shown(expected[name])}" for name in columns]
    more = len(shown) - _SHOWN_COLUMNS
    return "; ".join(shown[:_SHOWN_COLUMNS]) + (f"; and {more} more" if more > 0 else "")


def _shown(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"
