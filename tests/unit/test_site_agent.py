"""The site agent: everything arrives once and in order, whatever is away."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters.spool import SqliteSpool
from pipeline.core.batching import Batching
from pipeline.core.outcome import Outcome
from pipeline.core.sealing import Suite
from pipeline.ports import Outgoing
from pipeline.services.site_agent import Collecting, Pace, SiteAgent
from pipeline.services.site_agent.retry import wait_for_wake
from tests.support.chain import Chain
from tests.support.site_bench import FAST, KEY, PACE, Bench, running, until
from tests.support.site_ledger import (
    ListSource,
    SiteLedger,
    parts_of,
    terms_of,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, list(range(100)))
    yield made
    made.spool.close()


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
