"""Faust's own part of a worker that listens to a topic: one agent, one group, nothing done twice at a time.

What the agent hears only says that something is there: the worker keeps its position elsewhere. So it harms
nothing that Faust may acknowledge a record whose handling failed (docs/decisions/0025-assess-worker.md).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import faust
import mode
from faust.app.base import BootStrategy

_SESSION_TIMEOUT_S: Final = 10.0
_HEARTBEAT_S: Final = 3.0
_BUFFERED_EVENTS: Final = 64  # of up to 1 MB each
_POLLED_RECORDS: Final = 32
_FETCH_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Listener:
    """What an agent listens to and what it does: it awaits ``hear`` with each record's value, in order.

    ``group`` is the consumer group; it is Faust's application id as well. An exception of ``hear`` ends the worker.
    """

    topic: str
    group: str
    hear: Callable[[bytes | None], Awaitable[None]]


class ListeningBoot(BootStrategy):
    """Web, sensors, services and Faust's consumer; no producer: its own is not idempotent."""

    enable_kafka_consumer = True
    enable_kafka_producer = False


class _Event(Protocol):
    value: bytes | None


class _Stream(Protocol):
    def events(self) -> AsyncIterator[_Event]: ...


def listening_settings() -> dict[str, Any]:
    """Return what the settings of an application with an agent have beyond the others'."""
    return {
        "consumer_auto_offset_reset": "earliest",
        "broker_session_timeout": _SESSION_TIMEOUT_S,
        "broker_heartbeat_interval": _HEARTBEAT_S,
        "broker_max_poll_records": _POLLED_RECORDS,
        "consumer_max_fetch_size": _FETCH_BYTES,
        "stream_buffer_maxsize": _BUFFERED_EVENTS,
        "stream_wait_empty": False,
    }


def add_agent(app: faust.App, listener: Listener) -> None:
    """Let an application's only agent listen; it acknowledges a record when ``hear`` has returned."""
    topic = app.topic(
        listener.topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )

    async def listen(stream: _Stream) -> None:
        async for event in stream.events():
            await listener.hear(event.value)

    agent: Any = app.agent(topic, name="listen", concurrency=1, supervisor_strategy=mode.CrashingSupervisor)
    agent(listen)
