"""Cutting a CSV file that may still be growing into whole rows, with the byte offset after each.

Owns line ends, quotes over several lines, and size limits. Refuses to know what columns mean.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from connectors.records import RejectReason

MAX_ROW_BYTES = 64 * 1024
_SPECIAL = (b'"', b"\0", b"\r")


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


def plain_lines(file: BinaryIO, offset: int, most: int) -> tuple[bytes, int]:
    """Return up to ``most`` whole lines from ``offset`` on, their ends made plain, and their bytes in the file.

    No lines where one of them has to be read as a row: it holds quotes, NUL, or carriage returns elsewhere than in its
    end. Lines that come are never longer than a row may be.
    """
    file.seek(offset)
    data = file.read(MAX_ROW_BYTES)
    whole = data[: data.rfind(b"\n") + 1]
    size = len(whole) - len(whole.split(b"\n", most)[-1])
    plain = data[:size].replace(b"\r\n", b"\n")
    return (b"" if any(special in plain for special in _SPECIAL) else plain), size


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
