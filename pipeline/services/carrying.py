"""Bringing control records into the ledger: appended to the chain log, and waited for in verified blocks."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.core import avro
from pipeline.core.admission import CONTROL_SCHEMA
from pipeline.core.control import Control
from pipeline.core.errors import TransientError
from pipeline.core.genesis import Genesis
from pipeline.core.state import ChainState
from pipeline.ports import Outgoing

COMMIT_TIMEOUT_MS: Final = 120_000
POLL_INTERVAL_MS: Final = 500


def outgoing(genesis: Genesis, controls: Iterable[Control]) -> list[Outgoing]:
    """Return control records as the chain log takes them."""
    return [
        Outgoing(genesis.topic, avro.frame(CONTROL_SCHEMA, control.raw), partition=genesis.partition)
        for control in controls
    ]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for a block, in which time."""

    timeout_ms: int = COMMIT_TIMEOUT_MS
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic

    async def until(
        self, refresh: Callable[[], Awaitable[ChainState]], holds: Callable[[ChainState], bool], again: str
    ) -> ChainState:
        """Return the first state of the ledger that ``holds`` what was sent; ``again`` says what sends it again.

        Raises:
            IntegrityError: the published blocks contradict one another.
            TransientError: Kafka is away, or the ledger does not go on (``not_committed``).
        """
        deadline = self.monotonic() + self.timeout_ms / 1000
        while not holds(state := await refresh()):
            if self.monotonic() >= deadline:
                raise TransientError(
                    f"sent, but not in a block after {self.timeout_ms // 1000} s; `bkdms status` shows whether the "
                    f"accounting nodes go on. {again}",
                    code="not_committed",
                )
            await self.sleep(POLL_INTERVAL_MS / 1000)
        return state


USUAL_PATIENCE: Final = Patience()
