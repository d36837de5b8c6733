"""Real site agents under an open-loop load: rows are due by a schedule made before, and agents make packets of them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from pipeline.apps.bench.live_site import LiveSite, let_in, source_rows
from pipeline.apps.bench.load.sender import Schedule, Sent
from pipeline.apps.bench.load.whole import WholeStack
from pipeline.apps.bench.plan import site_name

_LEAD_S: Final = 0.5
_MS: Final = 1e3
_ROW_MS: Final = 1_000


class LiveSites:
    """Agents of the plan's sites, each a process of the deployment, and the rows that their sources get.

    Packet ``i`` of the schedule is the next full packet of site ``i % sites``: its rows are in the source when it is
    due, in one piece.
    """

    def __init__(self, schedule: Schedule, sites: list[LiveSite], packets: int, values: int) -> None:
        self._schedule, self._sites = schedule, sites
        self._packets, self._values = packets, values
        self._feeding: asyncio.Task[Sent] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._feeding is not None:
            self._feeding.cancel()

    async def begin(self) -> float:
        """Return when the schedule begins, seconds since 1970; a moment ahead."""
        begins_s = time.time() + _LEAD_S
        self._feeding = asyncio.create_task(self._feed(begins_s))
        return begins_s

    async def result(self) -> Sent:
        """Return how late rows were written at most, when all are; the agents' own time counts with the programs."""
        assert self._feeding is not None  # noqa: S101  begun first
        return await self._feeding

    async def _feed(self, begins_s: float) -> Sent:
        count, latest_s = len(self._sites), 0.0
        rows_of_a_site = (self._packets // count + 1) * self._values
        first_ms = int(begins_s * _MS) - rows_of_a_site * _ROW_MS
        for index in range(self._packets):
            rows = source_rows(first_ms, index // count * self._values, self._values)
            wait_s = begins_s + self._schedule.due_s(index) - time.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            await asyncio.to_thread(self._sites[index % count].tell, rows)
            latest_s = max(latest_s, time.time() - begins_s - self._schedule.due_s(index))
        return Sent(latest_s * _MS, 0.0, 0)


@contextmanager
def live_sites(stack: WholeStack, schedule: Schedule, sites: list[LiveSite]) -> Iterator[LiveSites]:
    """Run the agents of sites that were let in; the schedule can begin when all have opened their spools."""
    supervised = stack.deployment.stack
    names = [f"site-{number}" for number in range(len(sites))]
    for name, site in zip(names, sites, strict=True):
        argv = stack.deployment.python("pipeline.apps.cli", "--config", str(site.settings), "site", "run")
        supervised.run(name, argv, probe=site.spool.exists, is_restarted=False, is_awaited=False)
    for name in names:
        supervised.supervisor.await_ready(name)
    with LiveSites(schedule, sites, stack.plan.entries, stack.plan.values) as running:
        yield running


async def enrolled(stack: WholeStack) -> list[LiveSite]:
    """Let the plan's sites in, with keys of their own."""
    names = [site_name(number) for number in range(stack.plan.sites)]
    return await let_in(stack.deployment, names, stack.plan.values, stack.plan.suite)
