"""The site agent: everything arrives once and in order, whatever is away, and nothing is forgotten unverified."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from pipeline.adapters.spool import SqliteSpool
from pipeline.core.batching import Batching
from pipeline.core.delivery import Patience
from pipeline.core.errors import ConfigError, IntegrityError
from pipeline.core.names import SiteName
from pipeline.core.outcome import Outcome
from pipeline.core.sealing import Suite
from pipeline.ports import Outgoing
from pipeline.services.site_agent import Collecting, Pace, Retry, SiteAgent, SiteParts, check_receipt
from pipeline.services.site_agent.retry import wait_for_wake
from tests.support.chain import Chain
from tests.support.site_ledger import (
    ListSource,
    SilentLog,
    SiteLedger,
    ledger_with,
    parts_of,
    terms_of,
)
from tests.support.world import TestSite

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


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, list(range(100)))
    yield made
    made.spool.close()


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


async def until(condition: object) -> None:
    async with asyncio.timeout(20):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("suite", list(Suite))
async def test_everything_is_committed_once_and_in_order(tmp_path: Path, suite: Suite) -> None:
    bench = Bench(tmp_path, list(range(100)), suite)
    status = await bench.agent().run(until_committed=True)
    assert bench.committed == list(range(100))
    assert (status.totals.spooled_records, status.totals.confirmed_records) == (100, 100)
    assert (status.depth.records, status.depth.packets) == (0, 0)
    assert set(bench.ledger.outcomes) == {Outcome.ADMITTED}
    bench.spool.close()


async def test_refused_rows_are_counted_by_reason_and_the_rest_arrives(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [1, None, 2, None, None, 3])
    status = await bench.agent().run(until_committed=True)
    assert bench.committed == [1, 2, 3]
    assert status.totals.rejected == {"not_a_number": 3}
    assert "rows_refused" in bench.log.events
    bench.spool.close()


async def test_an_exhausted_source_that_grows_is_taken_up_again(bench: Bench) -> None:
    await bench.agent().run(until_committed=True)
    bench.source.numbers += [500, 501]
    bench.reopen()
    await bench.agent().run(until_committed=True)
    assert bench.committed == [*range(100), 500, 501]


async def test_collecting_goes_on_while_kafka_is_away_and_everything_arrives_later(bench: Bench) -> None:
    bench.ledger.kafka_away = True
    async with running(bench.agent()):
        await until(lambda: bench.spool.totals().spooled_records == 100)
        assert bench.committed == []
        bench.ledger.kafka_away = False
        await until(lambda: bench.spool.depth().records == 0)
    assert bench.committed == list(range(100))
    assert bench.log.events.count("kafka_fails") == 1
    assert bench.log.events.count("kafka_works_again") == 1


async def test_nothing_is_forgotten_while_the_api_is_away(bench: Bench) -> None:
    bench.ledger.api_away = True
    async with running(bench.agent()):
        await until(lambda: len(bench.ledger.sent) >= PACE.window)
        bench.ledger.close_block()
        await until(lambda: bench.log.events.count("head_api_fails") == 1)
        await until(lambda: bench.spool.totals().spooled_records == 100)
        assert bench.spool.depth().records == 100
        assert len(bench.ledger.sent) == PACE.window
        bench.ledger.api_away = False
        await until(lambda: bench.spool.depth().records == 0 and len(bench.committed) == 100)
    assert bench.committed == list(range(100))


async def test_an_unreachable_source_is_retried(bench: Bench) -> None:
    bench.source.away = True
    async with running(bench.agent()):
        await until(lambda: "source_fails" in bench.log.events)
        bench.source.away = False
        await until(lambda: len(bench.committed) == 100)


async def test_packets_that_kafka_lost_are_sent_again_with_the_same_bytes(bench: Bench) -> None:
    real = bench.ledger.take
    lost: list[bytes | None] = []

    def lossy(record: Outgoing) -> Outcome:
        if len(lost) < 3:
            lost.append(record.value)
            return Outcome.ADMITTED
        return real(record)

    bench.ledger.take = lossy  # type: ignore[method-assign]
    await bench.agent().run(until_committed=True)
    assert bench.committed == list(range(100))
    assert "sending_again" in bench.log.events
    admitted = [v for v in bench.ledger.sent if v in lost]
    assert set(admitted) == set(lost)


async def test_a_restart_asks_for_the_head_before_it_sends(bench: Bench) -> None:
    bench.ledger.api_away = True
    async with running(bench.agent()):
        await until(lambda: len(bench.ledger.sent) == PACE.window)
    bench.ledger.close_block()
    bench.ledger.api_away = False
    bench.reopen()
    await bench.agent().run(until_committed=True)
    assert bench.committed == list(range(100))
    assert set(bench.ledger.outcomes) == {Outcome.ADMITTED}


async def test_collecting_pauses_at_the_budget_and_loses_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, list(range(1000)))
    empty = bench.spool.depth().used_bytes
    pace = Pace(
        Batching(max_records=100, linger_ms=0),
        Collecting(batch_rows=50, budget_bytes=empty + 20_000, poll_s=0.01),
        PACE.patience,
        head_poll_s=0.01,
    )
    bench.ledger.kafka_away = True
    async with running(bench.agent(pace)):
        await until(lambda: "collecting_pauses" in bench.log.events)
        assert bench.spool.totals().spooled_records < 300
        bench.ledger.kafka_away = False
        await until(lambda: bench.spool.totals().confirmed_records == 1000)
    assert bench.committed == list(range(1000))
    bench.spool.close()


async def test_a_record_that_no_packet_can_take_is_refused_and_holds_nothing_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = len(bench.site.record(99))
    monkeypatch.setattr("pipeline.services.site_agent.collect.largest_record", lambda _terms: usual)
    bench.source.numbers[3] = 10**9
    status = await bench.agent().run(until_committed=True)
    assert status.totals.rejected == {"record_too_large": 1}
    assert bench.committed == [n for n in range(100) if n != 3]


async def test_two_agents_share_a_process_and_a_producer(tmp_path: Path) -> None:
    chain = Chain()
    sites = [chain.world.site(n) for n in (1, 2)]
    ledger = SiteLedger(*sites, chain=chain)
    ledger.commits_when_asked = True
    spools = [SqliteSpool(tmp_path / f"{i}.sqlite", KEY, terms_of(s).binding) for i, s in enumerate(sites)]
    sources = [ListSource(list(range(50))), ListSource(list(range(100, 150)))]
    agents = [
        SiteAgent(parts_of(site, ledger, spool, source), FAST, PACE)
        for site, spool, source in zip(sites, spools, sources, strict=True)
    ]
    await asyncio.gather(*(agent.run(until_committed=True) for agent in agents))
    assert [ledger.committed(site) for site in sites] == [list(range(50)), list(range(100, 150))]
    for spool in spools:
        spool.close()


@pytest.mark.parametrize("turn", range(20))
async def test_a_cancelled_agent_ends_at_once_even_while_it_is_woken(bench: Bench, turn: int) -> None:
    task = asyncio.create_task(bench.agent().run())
    await until(lambda: bench.spool.totals().confirmed_records > turn)
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_that_comes_with_a_wake_is_not_lost(turns: int) -> None:
    wake = asyncio.Event()
    task = asyncio.create_task(wait_for_wake(wake, 60))
    await asyncio.sleep(0.01)
    wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    was_over = task.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is not was_over


class ForgedHead:
    """Serves documents changed on the way."""

    def __init__(self, ledger: SiteLedger, **changes: object) -> None:
        self.ledger, self.changes = ledger, changes

    async def head(self, site: SiteName, *, with_packet: bool = False) -> bytes:
        document = json.loads(await self.ledger.head(site, with_packet=with_packet))
        return json.dumps(document | self.changes).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": "nothing\n"},
        {"tree_size": 1},
        {"path": []},
        {"header": base64.b64encode(b"no header").decode()},
        {"sequence": 99},
        {"chain": "00" * 32},
    ],
)
async def test_an_unproven_head_confirms_nothing(bench: Bench, changes: dict[str, object]) -> None:
    parts = bench.parts()
    forged = SiteParts(
        **{name: getattr(parts, name) for name in SiteParts.__slots__ if name != "heads"},
        heads=ForgedHead(bench.ledger, **changes),
    )
    async with running(SiteAgent(forged, FAST, PACE)):
        await until(lambda: "head_api_fails" in bench.log.events and len(bench.ledger.sent) >= PACE.window)
        await until(lambda: bench.spool.totals().spooled_records == 100)
    assert bench.spool.totals().confirmed_records == 0
    assert bench.spool.depth().records == 100


async def test_a_packet_that_this_spool_never_made_halts_the_agent_and_deletes_nothing(bench: Bench) -> None:
    bench.ledger.chain.packets(bench.site.packet([77]))
    with pytest.raises(IntegrityError, match="never made") as halted:
        await bench.agent().run(until_committed=True)
    assert halted.value.code == "unknown_packet"
    assert "bkdms site resync" in str(halted.value)
    assert bench.spool.depth().records == bench.spool.totals().spooled_records > 0


async def test_a_rolled_back_ledger_halts_the_agent_and_deletes_nothing(bench: Bench) -> None:
    bench.source.numbers = list(range(10))
    await bench.agent().run(until_committed=True)
    # Another chain under the same keys, longer than the one verified, that lacks the site's packets.
    fork = SiteLedger(bench.site)
    for number in range(8):
        fork.chain.packets(fork.chain.world.site(50 + number).packet([1]), *[b"x"] * 3)
        fork.chain.enrol(fork.chain.world.site(60 + number))
    bench.ledger.chain, bench.ledger.commits_when_asked = fork.chain, False
    bench.source.numbers = list(range(20))
    with pytest.raises(IntegrityError) as halted:
        await bench.agent().run(until_committed=True)
    assert halted.value.code == "rolled_back"
    assert bench.spool.depth().records == 10


async def test_a_lagging_api_is_waited_for(bench: Bench) -> None:
    bench.source.numbers = list(range(10))
    await bench.agent().run(until_committed=True)
    blocks = len(bench.ledger.chain.blocks)
    real, lagging = bench.ledger.document, [True]

    def document(site: SiteName, height: int, *, with_packet: bool = False) -> bytes:
        return real(site, 1 if lagging[0] else height, with_packet=with_packet)

    bench.ledger.document = document  # type: ignore[method-assign]
    bench.source.numbers = list(range(20))
    async with running(bench.agent()):
        await until(lambda: "head_api_behind" in bench.log.events)
        assert bench.spool.depth().records == 10
        lagging[0] = False
        await until(lambda: "head_api_caught_up" in bench.log.events)
        await until(lambda: bench.spool.depth().records == 0)
    assert len(bench.ledger.chain.blocks) > blocks
    assert bench.committed == list(range(20))


async def test_resync_sends_everything_unconfirmed_again(bench: Bench) -> None:
    bench.ledger.api_away = True
    async with running(bench.agent()):
        await until(lambda: len(bench.ledger.sent) == PACE.window)
    bench.ledger.api_away, bench.ledger.commits_when_asked = False, False
    first = list(bench.ledger.sent)
    await bench.agent().resync()
    assert bench.ledger.sent[: 2 * PACE.window] == first * 2


async def test_resigning_seals_the_same_records_under_later_sequences(bench: Bench) -> None:
    bench.ledger.api_away = True
    real = bench.ledger.take
    bench.ledger.take = lambda record: Outcome.ADMITTED  # type: ignore[method-assign]
    async with running(bench.agent()):
        await until(lambda: bench.spool.depth().packets == PACE.window)
    bench.ledger.api_away = False
    bench.ledger.take = real  # type: ignore[method-assign]
    await bench.agent().resync(resign=True)
    await bench.agent().run(until_committed=True)
    assert bench.committed == list(range(100))
    assert bench.spool.totals().confirmed_packets == bench.spool.tip().sequence - PACE.window


async def test_a_superseded_packet_that_arrives_late_still_counts_once(bench: Bench) -> None:
    bench.ledger.api_away = True
    real, held = bench.ledger.take, []

    def hold(record: Outgoing) -> Outcome:
        held.append(record)
        return Outcome.ADMITTED

    bench.ledger.take = hold  # type: ignore[method-assign]
    async with running(bench.agent()):
        await until(lambda: len(held) == PACE.window)
    bench.ledger.api_away = False
    await bench.agent().resync(resign=True)
    bench.ledger.take = real  # type: ignore[method-assign]
    bench.ledger.take(held[0])
    bench.ledger.take(held[1])
    await bench.agent().run(until_committed=True)
    assert bench.committed == list(range(100))
    assert "earlier_sealing_admitted" in bench.log.events


async def test_a_new_spool_goes_on_from_the_ledger_after_adopting_its_head(tmp_path: Path) -> None:
    bench = Bench(tmp_path, list(range(10)))
    await bench.agent().run(until_committed=True)
    bench.spool.close()
    for path in tmp_path.glob("spool.sqlite*"):
        path.unlink()
    bench.spool, bench.source = bench.open_spool(), ListSource([50, 51])
    await bench.agent().resync(adopt=True)
    await bench.agent().run(until_committed=True)
    assert bench.committed == [*range(10), 50, 51]
    bench.spool.close()


async def test_the_receipt_in_the_spool_verifies_offline_and_a_changed_one_stops_the_start(
    bench: Bench,
) -> None:
    await bench.agent().run(until_committed=True)
    receipt = bench.spool.receipt()
    assert receipt is not None
    genesis = bench.ledger.chain.world.genesis
    proven = check_receipt(genesis, bench.site.name, receipt)
    assert not isinstance(proven, str)
    assert proven.sequence == bench.spool.tip().sequence
    bench.spool._database.execute("UPDATE receipt SET root = x'00'")
    with pytest.raises(IntegrityError) as halted:
        await bench.agent().run(until_committed=True)
    assert halted.value.code == "receipt"


def test_a_signing_key_of_another_algorithm_is_refused(bench: Bench) -> None:
    other: TestSite = bench.ledger.chain.world.site(1, Suite.P256)
    parts = bench.parts()
    wrong = SiteParts(
        **{name: getattr(parts, name) for name in SiteParts.__slots__ if name != "signer"},
        signer=other.signer,
    )
    with pytest.raises(ConfigError, match="ED25519"):
        SiteAgent(wrong, FAST, PACE)
