"""One site's agent with its spool, a ledger and a source in memory, for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from pipeline.adapters.spool import SqliteSpool
from pipeline.core.batching import Batching
from pipeline.core.delivery import Patience
from pipeline.core.sealing import Suite
from pipeline.services.site_agent import Collecting, Pace, Retry, SiteAgent, SiteParts
from tests.support.site_ledger import ListSource, SilentLog, ledger_with, parts_of, terms_of

KEY = bytes(32)
FAST = Retry(0.005, 0.02, lambda delay: delay)
PACE = Pace(
    Batching(max_records=7, linger_ms=0),
    Collecting(batch_rows=10, poll_s=0.01),
    Patience(100, 200),
    head_poll_s=0.01,
    window=4,
)


class Bench:
    """One site with its spool, ledger and source."""

    def __init__(self, folder: Path, numbers: list[int | None], suite: Suite = Suite.LIGHT) -> None:
        self.ledger, self.site = ledger_with(suite=suite)
        self.ledger.commits_when_asked = True
        self.source = ListSource(numbers)
        self.path = folder / "spool.sqlite"
        self.log = SilentLog()
        self.spool = self.open_spool()

    def open_spool(self) -> SqliteSpool:
        return SqliteSpool(self.path, KEY, terms_of(self.site).binding)

    def parts(self) -> SiteParts:
        return parts_of(self.site, self.ledger, self.spool, self.source, self.log)

    def agent(self, pace: Pace = PACE) -> SiteAgent:
        return SiteAgent(self.parts(), FAST, pace)

    def reopen(self) -> None:
        self.spool.close()
        self.spool = self.open_spool()

    @property
    def committed(self) -> list[int]:
        return self.ledger.committed(self.site)


@asynccontextmanager
async def running(agent: SiteAgent) -> AsyncIterator["asyncio.Task[object]"]:
    """Run an agent beside the test and stop it by cancelling."""
    task: asyncio.Task[object] = asyncio.create_task(agent.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
