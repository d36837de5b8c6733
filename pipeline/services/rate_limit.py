"""Rate limits: a token bucket for each key, such as a site or a caller, that says how long to wait.

A key has a bucket only while it is not full. A validator's keys are sites whose packets proved genuine, so that memory
is bounded by the registry, forged packets use up nobody's share, and nothing is ever dropped.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_SWEEP_BUCKETS = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """Packets or requests per second that one key may have in the long run, and how many at once after a rest.

    Raises:
        ValueError: one of them is not positive.
    """

    per_s: float
    burst: int

    def __post_init__(self) -> None:
        if not (self.per_s > 0 and self.burst >= 1):
            raise ValueError("a rate limit needs a rate per second above 0 and a burst of at least 1")


@dataclass(slots=True)
class RateLimit(Generic[_Key]):
    """The buckets of all keys; times are monotonic seconds."""

    rate: Rate
    _buckets: dict[_Key, tuple[float, float]] = field(default_factory=dict)
    _sweep_above: int = _SWEEP_BUCKETS

    def take(self, key: _Key, now_s: float, cost: int = 1) -> float:
        """Take ``cost`` tokens: 0 where there was one, else seconds until the bucket is full again."""
        tokens = self._tokens(key, now_s)
        taken = tokens >= 1
        self._buckets[key] = (tokens - cost if taken else tokens, now_s)
        if len(self._buckets) > self._sweep_above:
            self._sweep(now_s)
        return 0.0 if taken else (self.rate.burst - tokens) / self.rate.per_s

    def __len__(self) -> int:
        return len(self._buckets)

    def _tokens(self, key: _Key, now_s: float) -> float:
        tokens, then_s = self._buckets.get(key, (float(self.rate.burst), now_s))
        return min(float(self.rate.burst), tokens + (now_s - then_s) * self.rate.per_s)

    def _sweep(self, now_s: float) -> None:
        full = [key for key in self._buckets if self._tokens(key, now_s) >= self.rate.burst]
        for key in full:
            del self._buckets[key]
        # Waiting for twice as many keeps the price of a sweep constant for each packet.
        self._sweep_above = max(_SWEEP_BUCKETS, 2 * len(self._buckets))
