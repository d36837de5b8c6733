"""Records handed to a producer in batches built here: one step of the event loop a batch, not one a record.

Only records whose partition is stated can be batched before the producer sees them; it places the others itself.
"""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from pipeline.ports import Outgoing

_PLACE: Final = itemgetter(Outgoing._fields.index("topic"), Outgoing._fields.index("partition"))
_UNCOMPRESSED: Final = 0


async def hand_over(
    producer: AIOKafkaProducer, records: Sequence[Outgoing], batch_bytes: int
) -> list[asyncio.Future[Any]]:
    """Give records to a producer, in order; return what tells of their acknowledgement.

    ``batch_bytes`` bounds a batch for a stated partition; a record that is larger goes in one of its own.
    """
    waiting: list[asyncio.Future[Any]] = []
    for (topic, partition), run in groupby(records, key=_PLACE):
        if partition is None:
            waiting += [await _placed(producer, record) for record in run]
        else:
            for batch in _batches(run, batch_bytes):
                waiting.append(await producer.send_batch(batch, topic, partition=partition))
    return waiting


async def _placed(producer: AIOKafkaProducer, record: Outgoing) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = await producer.send(
        record.topic, record.value, key=record.key, headers=list(record.headers)
    )
    return future


def _batches(run: Iterable[Outgoing], batch_bytes: int) -> list[BatchBuilder]:
    """Return closed batches of records for one partition."""
    found: list[BatchBuilder] = []
    for record in run:
        if not found or not _is_taken(found[-1], record):
            # The producer's own batches have another size; a new one takes its first record, however large.
            found.append(BatchBuilder(batch_bytes, _UNCOMPRESSED, is_transactional=False))
            if not _is_taken(found[-1], record):
                raise ValueError("an empty batch takes any record")
    for batch in found:
        batch.close()  # nothing else may join it later
    return found


def _is_taken(batch: BatchBuilder, record: Outgoing) -> bool:
    taken = batch.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers))
    return taken is not None
