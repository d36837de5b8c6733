"""What a fuzz target is."""

from collections.abc import Callable
from dataclasses import dataclass

Bytes = list[bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """Bytes from outside and what must hold for any of them.

    ``check`` returns whether they were accepted, and raises AssertionError where they should not have been, or where
    what was made of them does not give the same bytes again. Any other exception is a crash. ``seeds`` are genuine and
    accepted.
    """

    name: str
    check: Callable[[bytes], bool]
    seeds: Callable[[], Bytes]


def text(data: bytes) -> str | None:
    """Return the text of UTF-8 bytes, or None."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
