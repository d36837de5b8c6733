"""CSV files as a source: read incrementally while somebody else appends to them.

Owns positions in a file and the check that it is still the same file. Refuses to write, move or delete it.
"""

import codecs
import csv
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import BinaryIO

from connectors.mapping import SiteMapping
from connectors.normalise import Normaliser, Outcome
from connectors.plain_rows import Gathered, PlainRows
from connectors.records import Batch, Rejected, RejectReason
from connectors.sources.base import START
from connectors.sources.csv_rows import RawRow, plain_lines, raw_rows
from pipeline.core.errors import ConfigError, TransientError

GUARD_BYTES = 4096
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FORMAT = "csv1"
_SPECIAL = frozenset('"\r\n\0')
"""What a row may hold that the csv module does more about than to cut it at delimiters."""


@dataclass(frozen=True, slots=True)
class CsvPosition:
    """How far a file was read: bytes, lines, and a SHA-256 over the first and last 4 KB of what was read."""

    offset: int
    line: int
    guard: bytes

    def text(self) -> str:
        """The form that callers keep."""
        return f"{_FORMAT}:{self.offset}:{self.line}:{self.guard.hex()}"


def parse_position(text: str) -> CsvPosition:
    """Read a kept position; ``START`` is the beginning.

    Raises:
        ConfigError: it is not one of ours.
    """
    if text == START:
        return CsvPosition(0, 1, hashlib.sha256().digest())
    parts = text.split(":")
    try:
        form, offset, line, guard = parts
        position = CsvPosition(int(offset), int(line), bytes.fromhex(guard))
    except ValueError:
        form = ""
    if form != _FORMAT or position.offset <= 0 or position.line < 1:
        raise ConfigError(
            f"{text!r} is no position in a CSV file; delete it to read from the start", code="position"
        )
    return position


class CsvSource:
    """One file of one sampling site. Reads nothing at construction and holds no open file between calls."""

    def __init__(self, path: Path, mapping: SiteMapping) -> None:
        self._path = path
        self._mapping = mapping
        self._normaliser = Normaliser(mapping)
        self._plain: tuple[list[str], PlainRows] | None = None

    def check(self) -> None:
        """See that the file is there and its header has the mapped columns.

        Raises:
            ConfigError: it is not, or has not.
        """
        try:
            with self._path.open("rb") as file:
                if self._header(file, final=True) is None:
                    raise ConfigError(
                        f"{self._path}: is empty; its first row must name the columns", code="header"
                    )
        except OSError as error:
            problem = f"{self._path}: cannot be read ({error.strerror}); correct the path or its permissions"
            raise ConfigError(problem, code="source") from None

    def read(self, position: str, limit: int, *, final: bool = False) -> Batch:
        """Read up to ``limit`` data rows after ``position``; see ``Source.read``.

        Raises:
            ConfigError: the file shrank or was replaced (``source_replaced``), or its header does not fit.
            TransientError: the file can't be opened or read now.
        """
        start = parse_position(position)
        final = final or self._mapping.finished
        with self._open() as file:
            _verify_same_file(file, start, self._path)
            header = self._header(file, final=final)
            if header is None:
                return Batch((), (), position, at_end=True, rows=0, skipped=0)
            columns, first = header
            offset, line = (start.offset, start.line) if position else (first.next_offset, first.next_line)
            return self._batch(file, columns, (offset, line), limit, final=final)

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with self._path.open("rb") as file:
                yield file
        except OSError as error:
            raise TransientError(
                f"{self._path}: cannot be read now ({error.strerror})", code="source"
            ) from None

    def _batch(
        self, file: BinaryIO, columns: list[str], reached: tuple[int, int], limit: int, *, final: bool
    ) -> Batch:
        found, at_end = Gathered(), False
        while found.count < limit and not at_end:
            lines, size = plain_lines(file, reached[0], limit - found.count)
            text = self._decoded(lines)
            if text:
                self._plain_rows(columns).read(text, reached[1], found)
                reached = (reached[0] + size, reached[1] + lines.count(b"\n"))
                continue
            at_end = True
            end = reached[0] + size
            for raw in raw_rows(file, *reached, final=final):
                reached = (raw.next_offset, raw.next_line)
                if raw.problem is not None or raw.data.strip():
                    found.add(self._outcome(raw, columns))
                if found.count >= limit or reached[0] >= end:
                    at_end = False
                    break
        after = CsvPosition(*reached, _guard(file, reached[0])).text()
        records, rejected = tuple(found.records), tuple(found.rejected)
        return Batch(records, rejected, after, at_end=at_end, rows=found.count, skipped=found.skipped)

    def _decoded(self, lines: bytes) -> str:
        """Return lines as text; none where any of them has to be read as a row to say what is wrong with it."""
        try:
            return lines.decode(self._mapping.encoding)
        except UnicodeDecodeError:
            return ""

    def _plain_rows(self, columns: list[str]) -> PlainRows:
        """Return the short way under this header, made once."""
        if self._plain is None or self._plain[0] != columns:

            def general(line: int, text: str) -> Outcome:
                return self._normalised(line, text.split(self._mapping.delimiter), columns)

            self._plain = (columns, PlainRows(self._mapping, columns, general))
        return self._plain[1]

    def _outcome(self, raw: RawRow, columns: list[str]) -> Outcome:
        fields = fields_of(raw, self._mapping)
        if isinstance(fields, list):
            return self._normalised(raw.line, fields, columns)
        return Outcome(rejected=(Rejected(raw.line, "", fields),))

    def _normalised(self, line: int, fields: list[str], columns: list[str]) -> Outcome:
        if len(fields) != len(columns):
            return Outcome(rejected=(Rejected(line, "", RejectReason.FIELD_COUNT),))
        return self._normaliser.normalise(line, dict(zip(columns, fields, strict=True)))

    def _header(self, file: BinaryIO, *, final: bool) -> tuple[list[str], RawRow] | None:
        """Column names and the header row, or None while it is not written yet."""
        raw = next(raw_rows(file, 0, 1, final=final), None)
        if raw is None:
            return None
        if raw.data.startswith(_UTF16_MARKS):
            raise ConfigError(f"{self._path}: is UTF-16; save it as UTF-8", code="header")
        fields = fields_of(raw, self._mapping)
        if not isinstance(fields, list):
            encoding = self._mapping.encoding
            raise ConfigError(
                f"{self._path}: the first row is no CSV in {encoding} ({fields})", code="header"
            )
        columns = [name.strip() for name in fields]
        wrong = [name for name in self._mapping.columns if columns.count(name) != 1]
        if wrong:
            raise ConfigError(
                f"{self._path}: needs exactly one column {wrong[0]!r} in its first row, which has "
                f"{', '.join(map(repr, columns[:12]))}; correct the mapping or its delimiter",
                code="header",
            )
        return columns, raw


def fields_of(raw: RawRow, mapping: SiteMapping) -> list[str] | RejectReason:
    """Return the fields of a row, or why it has none."""
    if raw.problem is not None:
        return raw.problem
    try:
        text = raw.data.removeprefix(codecs.BOM_UTF8 if raw.line == 1 else b"").decode(mapping.encoding)
    except UnicodeDecodeError:
        return RejectReason.BAD_ENCODING
    if text and not _SPECIAL.intersection(text):
        return text.split(mapping.delimiter)
    try:
        rows = list(csv.reader(StringIO(text, newline=""), delimiter=mapping.delimiter, strict=True))
    except csv.Error:
        return RejectReason.BAD_QUOTES
    # A lone carriage return would make two rows of one.
    return rows[0] if len(rows) == 1 else RejectReason.BAD_QUOTES


def _guard(file: BinaryIO, offset: int) -> bytes:
    file.seek(0)
    head = file.read(min(GUARD_BYTES, offset))
    file.seek(max(0, offset - GUARD_BYTES))
    return hashlib.sha256(head + file.read(min(GUARD_BYTES, offset))).digest()


def _verify_same_file(file: BinaryIO, position: CsvPosition, path: Path) -> None:
    size = file.seek(0, 2)
    if size < position.offset:
        problem = f"has {size} bytes, fewer than the {position.offset} already read"
    elif _guard(file, position.offset) != position.guard:
        problem = "no longer holds the bytes already read"
    else:
        return
    raise ConfigError(
        f"{path}: {problem}; it was cut or replaced. Put the old file back, or give the new one its own name",
        code="source_replaced",
    )
