"""Waits that end: for a coroutine, and for all that a partition holds."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from pipeline.adapters.kafka import KafkaConnection, KafkaPartitionReader
from pipeline.ports import Received

READ_TIMEOUT_S: Final = 60.0
_FETCH_RECORDS: Final = 5000
_FETCH_TIMEOUT_MS: Final = 500
_T = TypeVar("_T")


async def in_time(work: Coroutine[Any, Any, _T], timeout_s: float, what: str) -> _T:
    """Return what a coroutine gives within its time.

    In a task of its own, because clients swallow a cancellation now and then and would wait on for ever.

    Raises:
        TimeoutError: it did not end.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
    finally:
        task.cancel()
    if not done:
        raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
    return task.result()


async def read_topic(connection: KafkaConnection, topic: str, partition: int = 0) -> list[Received]:
    """Return all records of a partition, up to the end that it has now."""
    reader = KafkaPartitionReader(connection, topic, partition)
    try:
        return await in_time(_whole(reader), READ_TIMEOUT_S, f"reading {topic}")
    finally:
        await reader.close()


async def _whole(reader: KafkaPartitionReader) -> list[Received]:
    first, end = await reader.bounds()
    await reader.seek(first)
    found: list[Received] = []
    while first < end and (not found or found[-1].offset + 1 < end):
        found += await reader.fetch(_FETCH_RECORDS, _FETCH_TIMEOUT_MS)
    return found
