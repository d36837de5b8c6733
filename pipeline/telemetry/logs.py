"""Logging of all programs: structlog events on standard error, JSON unless a person is looking.

An event has a name and fields: ``log.info("block_committed", height=7)``. Fields are names, numbers and hex
text. Bytes never appear: payloads and keys are bytes, so a slip shows their length alone.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# They tell each reconnect and each rebalance; ours tell what came of it.
_TALKATIVE = ("aiokafka", "asyncio", "aiohttp", "faust", "mode", "httpx", "urllib3")
_REPEAT_S = 60.0
_REMEMBERED = 512


def configure(level: str = "info", json: bool | None = None) -> None:
    """Send structlog's events and the standard library's records to standard error.

    ``json`` None means: JSON unless standard error is a terminal. May be called again.

    Raises:
        ValueError: there is no such level.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _withhold_bytes,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(as_json)],
        )
    )
    if logging.getLevelName(level.upper()) != logging.DEBUG:
        handler.addFilter(_OnceAMinute())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.root.level, logging.WARNING))


class _OnceAMinute(logging.Filter):
    """Lets each message of a talkative library through once a minute: it tells an absent Kafka ten times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._told_s: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is new enough; the message counts without its arguments."""
        if not record.name.startswith(_TALKATIVE):
            return True
        said = record.name, str(record.msg)
        if record.created - self._told_s.get(said, -_REPEAT_S) < _REPEAT_S:
            return False
        if len(self._told_s) >= _REMEMBERED:
            self._told_s.clear()
        self._told_s[said] = record.created
        return True


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module: ``logger(__name__)``."""
    found: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return found


def _renderers(as_json: bool) -> list[structlog.typing.Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [structlog.dev.ConsoleRenderer()]


def _withhold_bytes(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, bytes | bytearray | memoryview):
            event[key] = f"<{len(value)} bytes>"
    return event
