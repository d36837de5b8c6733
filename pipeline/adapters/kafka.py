"""Kafka by aiokafka: partition reader, idempotent producer, trimmer. Mutual TLS always.

A send that failed drops its producer: aiokafka spends a sequence number on an expired batch,
so a producer that lived on could let a later record land before an earlier one.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    KafkaError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from pipeline.adapters.kafka_batches import hand_over
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.core.errors import ConfigError, IntegrityError, TransientError
from pipeline.ports import Outgoing, Received

_REQUEST_TIMEOUT_MS = 20_000
_SEND_TIMEOUT_S = 30
_CLOSE_TIMEOUT_S = 5
_FETCH_BYTES = 4 << 20
# The smallest message limit of our topics, which counts the batch; a larger record goes in a batch of its own.
_BATCH_BYTES = 60 * 1024


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where Kafka is and who we are there: bootstrap servers, TLS files, client id."""

    bootstrap: str
    tls: TlsFiles
    client_id: str

    def options(self) -> dict[str, Any]:
        """Return what every aiokafka client takes."""
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "security_protocol": "SSL",
            "ssl_context": client_context(self.tls),
            "request_timeout_ms": _REQUEST_TIMEOUT_MS,
        }


@contextlib.contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Turn aiokafka's errors into ours; ``doing`` says what was tried.

    Raises:
        ConfigError: rights or topics are missing.
        IntegrityError: the position is not in the log.
        TransientError: everything else that Kafka reports.
    """
    try:
        yield
    except OffsetOutOfRangeError as error:
        raise IntegrityError(
            f"{doing}: the position is not in the log", code="offset_out_of_range"
        ) from error
    except (TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
        raise ConfigError(
            f"{doing}: not allowed by Kafka's ACLs; check the certificate's principal"
        ) from error
    except UnknownTopicOrPartitionError as error:
        raise ConfigError(f"{doing}: the topic does not exist; 'bkdms up' creates it") from error
    except (KafkaError, ConsumerStoppedError, OSError, TimeoutError) as error:
        raise TransientError(f"{doing}: {str(error) or type(error).__name__}", code="kafka") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled us: one of aiokafka's own tasks was, and let it out.
        raise TransientError(f"{doing}: the client was stopped", code="kafka") from error


async def stopped(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop a client that may be in any state; give up after a moment, it is dropped anyway.

    In a task of its own, because aiokafka swallows cancellations of ours there and lets out some of its own.
    """
    task = asyncio.create_task(_stop(client))
    _stopping.add(task)
    task.add_done_callback(_stopping.discard)
    await asyncio.wait({task}, timeout=2 * _CLOSE_TIMEOUT_S)


_stopping: set[asyncio.Task[None]] = set()


async def _stop(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    with contextlib.suppress(Exception, asyncio.CancelledError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await client.stop()
            return
    # A stop that was cut short leaves these running: one would send its last batch whenever Kafka comes back.
    for part in (
        "_coordinator._stop_heartbeat_task",
        "_fetcher.close",
        "_sender.close",
        "_client.close",
        "client.close",
    ):
        with contextlib.suppress(Exception, asyncio.CancelledError):
            async with asyncio.timeout(1):
                await attrgetter(part)(client)()


class KafkaPartitionReader:
    """Reads one partition; the caller keeps the position, and nothing is skipped silently."""

    def __init__(self, connection: KafkaConnection, topic: str, partition: int = 0) -> None:
        self._connection = connection
        self._at = TopicPartition(topic, partition)
        self._consumer: AIOKafkaConsumer | None = None
        self._next = 0
        self._opening = asyncio.Lock()

    async def _open(self) -> AIOKafkaConsumer:
        """Return the consumer, one for all who read at the same time."""
        async with self._opening:
            return await self._opened()

    async def _opened(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._connection.options(),
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=200,
                retry_backoff_ms=200,
            )
            try:
                await consumer.start()
                consumer.assign([self._at])
                consumer.seek(self._at, self._next)
            except BaseException:
                await stopped(consumer)
                raise
            self._consumer = consumer
        return self._consumer

    async def seek(self, offset: int) -> None:
        """Make ``offset`` the next one to be fetched."""
        self._next = offset
        if self._consumer is not None:
            self._consumer.seek(self._at, offset)

    async def fetch(self, max_records: int, timeout_ms: int) -> list[Received]:
        """Return the next records, none if the time ran out.

        Raises:
            IntegrityError: code ``offset_out_of_range``.
            TransientError: Kafka is not there; the next call connects anew.
        """
        try:
            with kafka_errors(f"reading {self._at.topic}"):
                consumer = await self._open()
                batches = await consumer.getmany(self._at, timeout_ms=timeout_ms, max_records=max_records)
        except TransientError:
            await self.close()
            raise
        found = [
            Received(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value)
            for batch in batches.values()
            for r in batch
        ]
        if found:
            self._next = found[-1].offset + 1
        return found

    async def bounds(self) -> tuple[int, int]:
        """Return the first offset held and the one after the last."""
        try:
            with kafka_errors(f"asking for the bounds of {self._at.topic}"):
                consumer = await self._open()
                # Together, because each waits for the fetch under way on the same connection.
                first, last = await asyncio.gather(
                    consumer.beginning_offsets([self._at]), consumer.end_offsets([self._at])
                )
        except TransientError:
            await self.close()
            raise
        return first[self._at], last[self._at]

    async def close(self) -> None:
        """Leave the broker."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stopped(consumer)


class IdempotentProducer:
    """Sends batches that are acknowledged by all replicas, in order, without duplicates of its own.

    ``batch_bytes`` bounds what is sent at once to a stated partition; its topic must take as much.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        linger_ms: int = 0,
        max_request_bytes: int = 1 << 20,
        batch_bytes: int = _BATCH_BYTES,
    ) -> None:
        self._connection = connection
        self._linger_ms = linger_ms
        self._max_request_bytes = max_request_bytes
        self._batch_bytes = batch_bytes
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    async def _open(self) -> AIOKafkaProducer:
        """Return the producer, one for all who send at the same time."""
        async with self._opening:
            return await self._opened()

    async def _opened(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._connection.options(),
                acks="all",
                enable_idempotence=True,
                linger_ms=self._linger_ms,
                max_batch_size=_BATCH_BYTES,
                max_request_size=self._max_request_bytes,
            )
            try:
                await producer.start()
            except BaseException:
                await stopped(producer)
                raise
            self._producer = producer
        return self._producer

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Return when all records are acknowledged, in order.

        Raises:
            TransientError: some may be missing or doubled; send the same again from the first on.
        """
        try:
            # aiokafka itself waits for ever with an idempotent batch that was sent and not acknowledged.
            with kafka_errors("sending"):
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    await self._send(batch)
        except BaseException:
            await self._drop()
            raise

    async def _send(self, batch: Sequence[Outgoing]) -> None:
        producer = await self._open()
        waiting = await hand_over(producer, batch, self._batch_bytes)
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stopped(producer)

    async def close(self) -> None:
        """Flush and leave the broker."""
        await self._drop()


class KafkaTrimmer:
    """Deletes the front of a partition by DeleteRecords."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete records below offset ``before``."""
        with kafka_errors(f"trimming {topic}"):
            admin = AIOKafkaAdminClient(**self._connection.options())
            await admin.start()
            try:
                await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})
            finally:
                await admin.close()
