"""Heads of the API's access log in the ledger: issued by the one key that a registrar named for it."""

from collections.abc import Collection, Iterable
from typing import Final

from pipeline.core.access_log import LogCheck, LogHead
from pipeline.core.control import AccessLogHead
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.state import ChainState
from pipeline.services.registrar import RegistrarDesk

ANCHOR_INTERVAL_MS: Final = 86_400_000
"""Longest time between two anchors of a log that grows."""


class AccessLogDesk(RegistrarDesk):
    """Brings heads of the access log into the ledger, as a registrar's desk brings his records."""

    def _entitled(self, state: ChainState) -> Collection[bytes]:
        key = state.access_log_key
        if key is None or key.fingerprint != self._issuer:
            raise ConfigError(
                "the ledger names no such key for the access log; have a registrar run "
                "`bkdms registrar access-log-key`",
                code="config.access_log_key",
            )
        return {key.fingerprint}


def known_heads(anchored: Iterable[AccessLogHead]) -> dict[int, bytes]:
    """Return anchored heads as a check of the log takes them: hash by count.

    Raises:
        IntegrityError: two anchors of one key disagree about a line (``access_log_forked``).
    """
    known: dict[int, bytes] = {}
    for head in anchored:
        if known.setdefault(head.count, head.head) != head.head:
            raise IntegrityError(
                f"the ledger holds two heads of the access log after line {head.count}: two programs sign with its "
                "key, or the log was begun anew; name a new key for a new log",
                code="access_log_forked",
            )
    return known


def next_anchor(check: LogCheck, anchored: Iterable[AccessLogHead], now_ms: int) -> AccessLogHead | None:
    """Return the head that is to be anchored after a log was checked without a finding, or None for nothing new."""
    last = max((head.count for head in anchored), default=0)
    end = check.head or LogHead(0, b"")
    return AccessLogHead(end.count, end.hash, now_ms) if end.count > last else None


def is_due(anchored: Iterable[AccessLogHead], now_ms: int) -> bool:
    """Tell whether the newest anchor is a day old, or there is none."""
    return now_ms - max((head.time_ms for head in anchored), default=0) >= ANCHOR_INTERVAL_MS
