"""Cutting a CSV file that may still be growing into whole rows, with the byte offset after each.

Owns line ends, quotes over several lines, and size limits. Refuses to know what columns mean.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from connectors.records import RejectReason

MAX_ROW_BYTES = 64 * 1024


class RawRow(NamedTuple):
    """One row: its first line (from 1), its bytes without line end, and where the next row starts.

    ``problem`` is set where it can't be read; ``data`` is empty then.
    """

    line: int
    data: bytes
    next_offset: int
    next_line: int
    problem: RejectReason | None = None


def raw_rows(file: BinaryIO, offset: int, line: int, *, final: bool) -> Iterator[RawRow]:
    """Yield the whole rows from ``offset`` on, the first of which starts on line ``line``.

    An unfinished last row is left for later, unless ``final``. A quote that never closes within
    ``MAX_ROW_BYTES`` costs its own line only.
    """
    file.seek(offset)
    while (row := _row(file, offset, line, final=final)) is not None:
        yield row
        offset, line = row.next_offset, row.next_line
        if row.problem is not None:  # else the file stands there already
            file.seek(offset)


def _row(file: BinaryIO, offset: int, line: int, *, final: bool) -> RawRow | None:
    first = file.readline(MAX_ROW_BYTES + 1)
    if len(first) > MAX_ROW_BYTES:
        return _overlong(file, line, last=first, final=final)
    if not first or not (final or first.endswith(b"\n")):
        return None
    data, lines = first, 1
    while data.count(b'"') % 2:
        more = file.readline(MAX_ROW_BYTES + 1 - len(data))
        is_cut = not more or not more.endswith(b"\n")
        if len(data) + len(more) > MAX_ROW_BYTES or (is_cut and final):
            if is_cut and final and (data + more).count(b'"') % 2 == 0:
                data, lines = data + more, lines + 1
                break
            return RawRow(line, b"", offset + len(first), line + 1, RejectReason.BAD_QUOTES)
        if is_cut:
            return None
        data, lines = data + more, lines + 1
    return RawRow(line, data.rstrip(b"\r\n"), offset + len(data), line + lines)


def _overlong(file: BinaryIO, line: int, *, last: bytes, final: bool) -> RawRow | None:
    while last and not last.endswith(b"\n"):
        last = file.readline(MAX_ROW_BYTES)
    if not last and not final:
        return None
    return RawRow(line, b"", file.tell(), line + 1, RejectReason.ROW_TOO_LONG)
