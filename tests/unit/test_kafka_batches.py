"""Records handed to a producer in batches: order, bounds, and who places them."""

import asyncio
from typing import Any

from pipeline.adapters.kafka_batches import hand_over
from pipeline.ports import Outgoing

BATCH_BYTES = 4000


class Taker:
    """Stands where aiokafka's producer does and notes what it is given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, int | None, int, int]] = []

    async def send(self, topic: str, value: bytes, *, key: bytes | None, headers: Any) -> Any:
        """Note one record that the producer has to place."""
        self.given.append((topic, None, 1, len(value)))
        return _future()

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        """Note a batch, which nobody may add to any more."""
        assert batch.closed()
        self.given.append((topic, partition, batch.record_count(), batch.size()))
        return _future()


def _future() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def given(*records: Outgoing) -> list[tuple[str, int | None, int, int]]:
    """Return topic, partition, number of records and bytes of what a producer is given."""
    taker: Any = Taker()
    waiting = await hand_over(taker, records, BATCH_BYTES)
    assert len(waiting) == len(taker.given)
    return taker.given  # type: ignore[no-any-return]


async def test_records_for_a_stated_partition_go_in_batches_of_bounded_size() -> None:
    batches = await given(*[Outgoing("log", b"x" * 1000, partition=0)] * 10)
    assert sum(count for *_, count, _ in batches) == 10
    assert 1 < len(batches) < 10
    assert all(size <= BATCH_BYTES for *_, size in batches)


async def test_a_record_larger_than_a_batch_goes_alone() -> None:
    small, large = Outgoing("log", b"x", partition=0), Outgoing("log", b"x" * 9000, partition=0)
    assert [count for *_, count, _ in await given(small, large, small)] == [1, 1, 1]


async def test_topics_and_partitions_are_kept_apart_and_in_order() -> None:
    found = await given(
        Outgoing("a", b"1", partition=0),
        Outgoing("a", b"2", partition=1),
        Outgoing("b", b"3"),
        Outgoing("b", b"4"),
    )
    assert [place[:3] for place in found] == [("a", 0, 1), ("a", 1, 1), ("b", None, 1), ("b", None, 1)]


async def test_nothing_is_handed_over_of_nothing() -> None:
    assert await given() == []
