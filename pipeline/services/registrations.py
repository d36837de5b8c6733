"""The validators' view of ``kpi.sites.v1``: a directory that follows the topic."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from pipeline.core.errors import IntegrityError, TransientError
from pipeline.core.genesis import Genesis
from pipeline.ports import PartitionReader
from pipeline.services.site_directory import SiteDirectory
from pipeline.telemetry import validator_metrics as metrics

LOAD_TIMEOUT_S: Final = 30.0
_FETCH_RECORDS: Final = 1000
_FETCH_TIMEOUT_MS: Final = 100


class Registrations:
    """A directory that follows the sites topic; read by its owner's own calls, so no task of its own."""

    def __init__(
        self, genesis: Genesis, reader: PartitionReader, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.directory = SiteDirectory(genesis)
        self._reader = reader
        self._monotonic_s = monotonic_s
        self._next: int | None = None

    async def load(self) -> None:
        """Read the whole topic as it stands now.

        Raises:
            TransientError: Kafka is not there, or the end was not reached in time.
        """
        await self.catch_up(LOAD_TIMEOUT_S)

    async def refresh(self) -> None:
        """Take in what has arrived, without waiting for more.

        Raises:
            TransientError: Kafka is not there.
        """
        await self._fetch(0)

    async def catch_up(self, timeout_s: float) -> None:
        """Read up to the end that the topic has now.

        Raises:
            TransientError: Kafka is not there, or code ``registrations_behind``: the end was not reached in time.
        """
        deadline = self._monotonic_s() + timeout_s
        first, end = await self._reader.bounds()
        if self._next is None:
            await self._start_at(first)
        while self._next is None or self._next < end:
            if not await self._fetch(_FETCH_TIMEOUT_MS) and self._monotonic_s() > deadline:
                raise TransientError(
                    f"site registrations: read up to {self._next} of {end} in {timeout_s:g} s",
                    code="registrations_behind",
                )
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Leave the broker."""
        await self._reader.close()

    async def _start_at(self, offset: int) -> None:
        await self._reader.seek(offset)
        self._next = offset

    async def _fetch(self, timeout_ms: int) -> bool:
        """Take in the next records; tell whether there were any."""
        try:
            records = await self._reader.fetch(_FETCH_RECORDS, timeout_ms)
        except IntegrityError:
            # The topic was cut below our position; what is known stays, and the rest is read again.
            first, _ = await self._reader.bounds()
            await self._start_at(first)
            return False
        for record in records:
            metrics.REGISTRATIONS.labels(self.directory.apply(record.value).label).inc()
            self._next = record.offset + 1
        if records:
            metrics.KNOWN_SITES.set(len(self.directory))
        return bool(records)
