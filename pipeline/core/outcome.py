"""What can become of a record of the chain log. The numbers are part of the log digest."""

from enum import IntEnum


class Outcome(IntEnum):
    """Fate of one record; everything from ``OVERSIZED`` on is a refusal."""

    ADMITTED = 0
    TICK = 1
    DUPLICATE = 2
    OVERSIZED = 16
    EMPTY = 17
    FOREIGN_SCHEMA = 18
    MALFORMED = 19
    OUT_OF_RANGE = 20
    WRONG_CHAIN = 21
    UNKNOWN_SITE = 22
    INACTIVE_SITE = 23
    WRONG_KEY = 24
    SUITE_REFUSED = 25
    UNKNOWN_RECIPIENT = 26
    BAD_SIGNATURE = 27
    STALE = 28
    EQUIVOCATION = 29
    BROKEN_LINK = 30
    SEQUENCE_JUMP = 31
    TOO_NEW = 32
    TOO_OLD = 33
    UNKNOWN_ISSUER = 34
    UNKNOWN_ACTION = 35
    WEAK_KEY = 36
    BAD_POSSESSION = 37
    CONFLICTING = 38
    SUSPENDED_SITE = 39

    @property
    def label(self) -> str:
        """Stable lower-case name, used as metric label and in dead letters."""
        return self.name.lower()

    @property
    def is_refusal(self) -> bool:
        """Whether the record was refused, as opposed to admitted, repeated or a tick."""
        return self >= Outcome.OVERSIZED
