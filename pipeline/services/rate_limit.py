"""Rate limits per site: token buckets that say how long to wait. Nothing is ever dropped for them.

Only sites whose packets proved genuine have a bucket, and only while it is not full, so memory is bounded by
the registry and forged packets use up nobody's share.
"""

from dataclasses import dataclass, field

from pipeline.core.names import SiteName

_SWEEP_BUCKETS = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """Packets per second that one site may send in the long run, and how many at once after a rest.

    Raises:
        ValueError: one of them is not positive.
    """

    per_s: float
    burst: int

    def __post_init__(self) -> None:
        if not (self.per_s > 0 and self.burst >= 1):
            raise ValueError("a rate limit needs packets per second above 0 and a burst of at least 1")


@dataclass(slots=True)
class RateLimit:
    """The buckets of all sites at one validator; times are monotonic seconds."""

    rate: Rate
    _buckets: dict[SiteName, tuple[float, float]] = field(default_factory=dict)
    _sweep_above: int = _SWEEP_BUCKETS

    def take(self, site: SiteName, now_s: float) -> float:
        """Take a token for one packet: 0 where there was one, else seconds until the bucket is full again."""
        tokens = self._tokens(site, now_s)
        taken = tokens >= 1
        self._buckets[site] = (tokens - 1 if taken else tokens, now_s)
        if len(self._buckets) > self._sweep_above:
            self._sweep(now_s)
        return 0.0 if taken else (self.rate.burst - tokens) / self.rate.per_s

    def __len__(self) -> int:
        return len(self._buckets)

    def _tokens(self, site: SiteName, now_s: float) -> float:
        tokens, then_s = self._buckets.get(site, (float(self.rate.burst), now_s))
        return min(float(self.rate.burst), tokens + (now_s - then_s) * self.rate.per_s)

    def _sweep(self, now_s: float) -> None:
        full = [site for site in self._buckets if self._tokens(site, now_s) >= self.rate.burst]
        for site in full:
            del self._buckets[site]
        # Waiting for twice as many keeps the price of a sweep constant for each packet.
        self._sweep_above = max(_SWEEP_BUCKETS, 2 * len(self._buckets))
