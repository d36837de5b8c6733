"""Two days without Kafka: the spool holds what was measured, and all of it arrives once and in order."""

from pathlib import Path

from tests.support.site_bench import Bench, running, until

MINUTES = 48 * 60


async def test_a_backlog_of_48_hours_arrives_once_and_in_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path, list(range(MINUTES)))
    bench.ledger.kafka_away = True
    async with running(bench.agent()):
        await until(lambda: bench.spool.depth().records == MINUTES)
    bench.reopen()
    bench.ledger.kafka_away = False
    await bench.agent().run(until_committed=True)
    assert bench.committed == list(range(MINUTES))
    assert bench.spool.depth().records == 0
    bench.spool.close()
