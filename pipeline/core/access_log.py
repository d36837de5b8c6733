"""The API's access log: one JSON line for each request, each carrying the hash of the line before.

    hash_0 = SHA-256("bkdms/access-log/v1\\0" ‖ chain) ;  hash_n = SHA-256("bkdms/access-log/v1\\0" ‖ line n)

A line ends in a line feed, which is part of it, and names its number ``n`` and ``previous``, the hash before. A head
(n, hash_n) therefore pins every line up to n; heads are written into the ledger.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

MAX_LINE_BYTES: Final = 16 * 1024
_PREFIX: Final = b"bkdms/access-log/v1\x00"
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class LogHead:
    """The end of a log after its first ``count`` lines, and the hash (32 bytes) of the last of them."""

    count: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Access:
    """A request and its outcome: who asked by what means and from where, for which route and values.

    Neither tokens nor what was answered are in it. ``outcome`` is ``answered`` or the refusal's code.
    """

    time_ms: int
    who: str
    via: str
    address: str
    method: str
    route: str
    asked: Mapping[str, str]
    status: int
    outcome: str


@dataclass(slots=True)
class LogCheck:
    """Follows the lines of a log and compares them with heads known from elsewhere, by their counts.

    ``head`` is None until the first line was seen where the log's beginning is not at hand.
    """

    head: LogHead | None
    known: Mapping[int, bytes] = field(default_factory=dict)
    confirmed: int = 0
    """The highest known head that the lines led to."""

    def take(self, line: bytes) -> str | None:
        """Take the next line; return what is wrong with it, or None."""
        numbers = _numbers(line)
        if numbers is None:
            return "is no line of an access log"
        number, previous = numbers
        if self.head is None:
            self.head = LogHead(number - 1, previous)
        if number != self.head.count + 1:
            return f"is number {number} where {self.head.count + 1} has to follow"
        if previous != self.head.hash:
            return "does not follow from the line before: one of the two was changed"
        self.head = LogHead(number, line_hash(line))
        expected = self.known.get(number)
        if expected is not None and expected != self.head.hash:
            return "is not the line whose hash is in the ledger: it or one before was changed"
        if expected is not None:
            self.confirmed = number
        return None

    def missing(self) -> int | None:
        """Return the first known head beyond the log's end, where it was cut; None where there is none."""
        end = 0 if self.head is None else self.head.count
        return min((count for count in self.known if count > end), default=None)


def beginning(chain: bytes) -> LogHead:
    """Return the head of an empty log beside the ledger of ``chain`` (32 bytes)."""
    return LogHead(0, sha256(_PREFIX + chain).digest())


def line_hash(line: bytes) -> bytes:
    """Return the hash of a line, its line feed included."""
    return sha256(_PREFIX + line).digest()


def encode_line(head: LogHead, access: Access) -> bytes:
    """Return the line that follows a log's head: ASCII, so that nothing in it can steer a terminal."""
    document: dict[str, Any] = {
        "n": head.count + 1,
        "time_ms": access.time_ms,
        "who": access.who,
        "via": access.via,
        "address": access.address,
        "method": access.method,
        "route": access.route,
        "asked": dict(access.asked),
        "status": access.status,
        "outcome": access.outcome,
        "previous": head.hash.hex(),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def after(line: bytes) -> LogHead | None:
    """Return the head that a line makes, or None where it is no line of a log."""
    numbers = _numbers(line)
    return None if numbers is None else LogHead(numbers[0], line_hash(line))


def check_all(lines: Iterable[bytes], check: LogCheck) -> tuple[int, str] | None:
    """Take all lines; return the first wrong one's place (from 1) and what is wrong, or None."""
    for place, line in enumerate(lines, 1):
        problem = check.take(line)
        if problem is not None:
            return place, problem
    return None


def _numbers(line: bytes) -> tuple[int, bytes] | None:
    if not line.endswith(b"\n") or len(line) > MAX_LINE_BYTES:
        return None
    try:
        document = json.loads(line)
        number, previous = document["n"], bytes.fromhex(document["previous"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_good = type(number) is int and number >= 1 and len(previous) == _HASH_BYTES
    return (number, previous) if is_good else None
