"""Watching the agreement: says once, in log and metrics, when key or suite changes, ends soon, or sealing must wait."""

from dataclasses import dataclass
from typing import Final

from pipeline.core.agreement import Agreed, Hold
from pipeline.services.site_agent.needs import SiteParts
from pipeline.telemetry import site_metrics

_DAY_MS: Final = 86_400_000
HOLD_WORDS: Final = {
    Hold.SUSPENDED: "the registrar to resume this site",
    Hold.REVOKED: "the registrar, who revoked this site",
    Hold.OTHER_KEY: "the key that the registrar has for this site now",
    Hold.NOT_GRANTED: "a grant of all indicators that the source yields",
    Hold.WEAKER_SUITE: "a suite that is not weaker than this site asked for",
    Hold.SUITE_EXPIRED: "a suite that has not ended",
    Hold.NO_KEY: "a key of the platform for this site's suite",
    Hold.KEY_EXPIRED: "a new key of the platform",
}
"""What an agent that seals nothing waits for, for people."""


@dataclass(frozen=True, slots=True)
class Notice:
    """How long before its end a key of the platform and a suite are warned of, milliseconds."""

    key_ms: int = 3 * _DAY_MS
    suite_ms: int = 90 * _DAY_MS


class AgreementWatch:
    """Follows one site's agreement; ``hold`` is why nothing new is sealed, as of the last look."""

    def __init__(self, parts: SiteParts, notice: Notice) -> None:
        self._standing, self._clock, self._log, self._label = (
            parts.standing,
            parts.clock,
            parts.log,
            parts.label,
        )
        self._notice = notice
        self._agreed: Agreed | None = None
        self._warned: set[str] = set()
        self.hold: Hold | None = None

    def look(self) -> None:
        """Compare what holds now with the last look, and say what changed."""
        now_ms = self._clock.now_ms()
        found = self._standing.agree(now_ms)
        hold = found if isinstance(found, Hold) else None
        if hold is not self.hold:
            self._show_hold(hold)
        if not isinstance(found, Hold):
            if found.agreed != self._agreed:
                self._show_agreed(found.agreed)
            self._warn_early(found.agreed, now_ms)

    def _show_hold(self, hold: Hold | None) -> None:
        for reason in Hold:
            site_metrics.HELD.labels(self._label, reason.value).set(reason is hold)
        if hold is None:
            self._log.info("sealing_goes_on")
        else:
            self._log.warning("sealing_waits", reason=hold.value, waiting_for=HOLD_WORDS[hold])
        self.hold = hold

    def _show_agreed(self, agreed: Agreed) -> None:
        offer = agreed.offer
        site_metrics.KEY_EPOCH.labels(self._label).set(offer.epoch)
        site_metrics.KEY_EXPIRY.labels(self._label).set(offer.valid_to / 1000)
        if agreed.suite_ends_ms:
            site_metrics.SUITE_EXPIRY.labels(self._label).set(agreed.suite_ends_ms / 1000)
        self._log.info(
            "platform_key_taken_up",
            suite=agreed.suite.name.lower(),
            epoch=offer.epoch,
            key=offer.key.fingerprint.hex(),
            valid_to_ms=offer.valid_to,
        )
        self._agreed = agreed
        self._warned.clear()

    def _warn_early(self, agreed: Agreed, now_ms: int) -> None:
        suite = agreed.suite.name.lower()
        key_left, suite_left = agreed.offer.valid_to - now_ms, agreed.suite_ends_ms - now_ms
        if key_left <= self._notice.key_ms and self._is_first("key"):
            self._log.warning("platform_key_ends_soon", suite=suite, days=max(0, key_left) // _DAY_MS)
        if agreed.suite_ends_ms and suite_left <= self._notice.suite_ms and self._is_first("suite"):
            self._log.warning("suite_ends_soon", suite=suite, days=max(0, suite_left) // _DAY_MS)

    def _is_first(self, warning: str) -> bool:
        """Tell whether a warning was not given since the agreement changed, and note that it is now."""
        known = warning in self._warned
        self._warned.add(warning)
        return not known
