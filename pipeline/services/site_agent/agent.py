"""The agent of one site: three loops that run side by side on one spool, until stopped or all is committed.

Each loop keeps its own back-off, so that collecting goes on while Kafka or the API is away. All state that
matters is in the spool; a cancelled or killed agent goes on where it was.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.batching import Batching
from pipeline.core.delivery import Behind, Confirms, Depth, Patience, Totals, Verdict
from pipeline.core.errors import ConfigError, TransientError
from pipeline.services.ending import end
from pipeline.services.site_agent.collect import Collecting, Collector
from pipeline.services.site_agent.confirm import Confirmer
from pipeline.services.site_agent.needs import SiteParts
from pipeline.services.site_agent.retry import Link, Retry, settled, wait_for_wake
from pipeline.services.site_agent.send import Sender
from pipeline.services.site_agent.watch import HOLD_WORDS, AgreementWatch, Notice
from pipeline.telemetry import site_metrics


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how patient: asking for the head every ``head_poll_s`` seconds while packets are out,
    at most ``window`` packets out, resending by ``patience``; without packets out, every ``registry_poll_s`` seconds,
    which is also how often all records about the site are asked for again."""

    batching: Batching = field(default_factory=Batching)
    collecting: Collecting = field(default_factory=Collecting)
    patience: Patience = field(default_factory=Patience)
    notice: Notice = field(default_factory=Notice)
    head_poll_s: float = 2.0
    registry_poll_s: float = 60.0
    window: int = 256


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """Where an agent stands; ``waiting_for`` names what fails right now."""

    totals: Totals
    depth: Depth
    waiting_for: tuple[str, ...]


class SiteAgent:
    """Collects, sends and confirms for one site. Owns none of its parts: whoever made them closes them.

    Raises:
        ConfigError: the signing key does not belong to the suite.
    """

    def __init__(self, parts: SiteParts, retry: Retry, pace: Pace | None = None) -> None:
        terms, log, pace = parts.terms, parts.log, pace or Pace()
        if parts.signer.public.algorithm is not terms.signing_algorithm:
            raise ConfigError(
                f"suite {terms.suite.name.lower()} needs a {terms.signing_algorithm.name} signing key; "
                "ask for access again with the right key",
                code="site_key",
            )
        self._spool, self._clock, self._label, self._log = parts.spool, parts.clock, parts.label, log
        self._pace, self._jitter = pace, retry.jitter
        self._collector = Collector(parts, pace.collecting)
        self._sender = Sender(parts, pace.batching, pace.window)
        self._confirmer = Confirmer(parts)
        self._watch = AgreementWatch(parts, pace.notice)
        self._source_link = Link("source", retry, log)
        self._kafka_link = Link("kafka", retry, log)
        self._api_link = Link("head_api", retry, log)
        self._to_send, self._to_collect, self._sent = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._exhausted = self._paused = self._behind = False
        self._waiting_since: float | None = None
        self._resends = 0
        self._next_look = 0.0

    async def run(self, *, until_committed: bool = False) -> SiteStatus:
        """Run until cancelled, or until the source is exhausted and everything is verified as committed.

        Raises:
            ConfigError: the source needs a change of settings.
            IntegrityError: verified data contradict the spool; nothing was deleted.
        """
        await settled(self._confirmer.check_stored)
        self._exhausted = False
        await self._look_before_sending()
        await _first_of(self._collect(until_committed), self._send(), self._confirm(until_committed))
        return await self.status()

    async def resync(self, *, resign: bool = False, adopt: bool = False) -> SiteStatus:
        """Ask for the head now, act on it, and send everything unconfirmed again.

        With ``resign``, unconfirmed records are sealed again under later sequences: for bytes that can't be
        admitted any more, such as after a change of key or suite. With ``adopt``, a head that this spool did
        not make is taken as the place to go on from: for a spool that was lost.

        Raises:
            TransientError: Kafka or the API does not answer; the same may be tried again.
            IntegrityError: verified data contradict the spool.
        """
        await settled(self._confirmer.check_stored)
        if adopt:
            await self._confirmer.adopt()
        # Before sealing anew it must be known what is committed, or its records would be sent twice.
        await self._confirmer.step()
        if resign:
            packets = await settled(self._spool.supersede)
            self._log.info("sealing_again", packets=packets)
        self._sender.rewind()
        while (await self._sender.step(drain=True)).packets:
            pass
        return await self.status()

    async def status(self) -> SiteStatus:
        """Return where the agent stands."""
        depth = await settled(self._spool.depth)
        totals = await settled(self._spool.totals)
        links = {"source": self._source_link, "kafka": self._kafka_link, "api": self._api_link}
        waiting = [name for name, link in links.items() if link.is_down]
        if self._watch.hold is not None:
            waiting.append(HOLD_WORDS[self._watch.hold])
        return SiteStatus(totals, depth, tuple(waiting))

    async def _look_before_sending(self) -> None:
        """Spare the validators packets that were committed while this agent was not running, and learn new keys."""
        await settled(self._watch.look)
        if self._watch.hold is not None or (await settled(self._spool.depth)).packets:
            with contextlib.suppress(TransientError):
                await self._ask(anew=True)

    async def _ask(self, *, anew: bool) -> Verdict:
        """Ask for the head and act on it; what it says of the site's rights may let sealing go on."""
        verdict = await self._confirmer.step(anew=anew)
        if anew:
            self._next_look = asyncio.get_running_loop().time() + self._pace.registry_poll_s
        was_held = self._watch.hold
        await settled(self._watch.look)
        if was_held is not None and self._watch.hold is None:
            self._to_send.set()
        self._note_verdict(verdict)
        return verdict

    async def _collect(self, final: bool) -> None:
        while True:
            delay: float | None = 0.0
            try:
                found = await settled(lambda: self._collector.step(final=final))
            except TransientError as error:
                delay = self._failed(self._source_link, error)
            else:
                self._source_link.works()
                self._note_pause(found.paused)
                if found.records:
                    self._to_send.set()
                if found.rejected:
                    self._log.warning("rows_refused", **found.rejected)
                if found.paused or (found.at_end and not found.records):
                    delay = self._pace.collecting.poll_s
                if found.at_end and final:
                    self._exhausted, delay = True, None
                    self._to_send.set()
                    self._sent.set()
            await wait_for_wake(self._to_collect, delay)

    async def _send(self) -> None:
        while True:
            delay: float | None
            try:
                sent = await self._sender.step(drain=self._exhausted)
            except (TransientError, ConfigError) as error:
                # Rights and topics may be missing for a while on a broker that starts; records are kept meanwhile.
                await wait_for_wake(asyncio.Event(), self._failed(self._kafka_link, error))
                continue
            if sent.packets:
                self._kafka_link.works()
                self._sent.set()
            if sent.hold is not None:
                await settled(self._watch.look)
                self._sent.set()
            delay = None if sent.next_due_ms is None else sent.next_due_ms / 1000
            await wait_for_wake(self._to_send, delay)

    async def _confirm(self, until_committed: bool) -> None:
        while True:
            delay = self._jitter(self._pace.head_poll_s)
            try:
                depth = await settled(self._spool.depth)
                self._show(depth)
                if until_committed and self._exhausted and depth.records == 0:
                    return
                is_due = asyncio.get_running_loop().time() >= self._next_look
                if depth.packets == 0 and self._watch.hold is None and not is_due:
                    self._waiting_since = None
                    await wait_for_wake(self._sent, self._pace.head_poll_s)
                    continue
                verdict = await self._ask(anew=is_due or self._watch.hold is not None)
            except TransientError as error:
                delay = self._failed(self._api_link, error)
            else:
                self._api_link.works()
                if isinstance(verdict, Confirms):
                    continue
            await asyncio.sleep(delay)

    def _note_verdict(self, verdict: Verdict) -> None:
        loop_time = asyncio.get_running_loop().time()
        if isinstance(verdict, Behind) != self._behind:
            self._behind = not self._behind
            text = "head_api_behind" if self._behind else "head_api_caught_up"
            self._log.warning(text)
        if isinstance(verdict, Confirms):
            self._waiting_since, self._resends = None, 0
            if verdict.relinks:
                self._log.warning("earlier_sealing_admitted")
            self._to_send.set()
            self._to_collect.set()
        elif self._is_resend_due(loop_time):
            self._resends += 1
            self._waiting_since = loop_time
            self._log.warning("sending_again", times=self._resends)
            self._sender.rewind(in_doubt=True)
            self._to_send.set()

    def _is_resend_due(self, now: float) -> bool:
        if self._waiting_since is None or self._kafka_link.is_down:
            self._waiting_since = now
            return False
        return (now - self._waiting_since) * 1000 >= self._pace.patience.wait_ms(self._resends)

    def _failed(self, link: Link, error: TransientError | ConfigError) -> float:
        site_metrics.RETRIES.labels(self._label, error.code).inc()
        return link.failed(error)

    def _note_pause(self, paused: bool) -> None:
        if paused != self._paused:
            self._paused = paused
            text = "collecting_pauses" if paused else "collecting_goes_on"
            self._log.warning(text)

    def _show(self, depth: Depth) -> None:
        site_metrics.SPOOL_RECORDS.labels(self._label).set(depth.records)
        site_metrics.SPOOL_PACKETS.labels(self._label).set(depth.packets)
        site_metrics.SPOOL_BYTES.labels(self._label).set(depth.used_bytes)
        site_metrics.SPOOL_LIMIT.labels(self._label).set(self._pace.collecting.budget_bytes)
        age_ms = 0 if depth.oldest_ms is None else max(0, self._clock.now_ms() - depth.oldest_ms)
        site_metrics.OLDEST_SECONDS.labels(self._label).set(age_ms / 1000)


async def _first_of(*loops: Coroutine[Any, Any, None]) -> None:
    """Run loops until the first ends or fails, then end the others."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end(tasks)
