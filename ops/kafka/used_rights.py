"""Which rights are used: Kafka's own log of decisions, switched on for a while on the brokers of this machine.

A broker reads its log settings again every few seconds, so nothing is restarted. Each allowed request is a line
there, which is why it is not always on.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from ops.files import write_private
from ops.kafka.broker import LOG_SETTINGS, SETTINGS_SECONDS, BrokerPlace

DECISIONS: Final = "decisions.log"
_LINE: Final = re.compile(
    r"Principal = (User:\S+) is Allowed operation = (\w+) from host = \S+ on resource = (\w+):LITERAL:(\S+) for"
)
_EVERYTHING: Final = "*"

Used = frozenset[tuple[str, str, str, str]]
"""Principal as Kafka writes it, operation, kind of resource, its name."""


def watch(places: Sequence[BrokerPlace], seconds: float, sleep: Callable[[float], None] = time.sleep) -> Used:
    """Return what was allowed within ``seconds``, by the brokers at ``places``.

    The settings of their logs are put back and the decisions deleted, whatever happens.
    """
    before = {place: (place.folder / LOG_SETTINGS).read_bytes() for place in places}
    told = {place: place.log_folder / f"{place.name}-{DECISIONS}" for place in places}
    try:
        for place, settings in before.items():
            write_private(place.folder / LOG_SETTINGS, settings + _more(told[place]).encode())
        sleep(SETTINGS_SECONDS + seconds)
        return frozenset().union(*(used_in(_lines(decisions)) for decisions in told.values()))
    finally:
        for place, settings in before.items():
            write_private(place.folder / LOG_SETTINGS, settings)
        # They go on writing until they have read their settings again.
        sleep(SETTINGS_SECONDS)
        for decisions in told.values():
            decisions.unlink(missing_ok=True)


def _lines(decisions: Path) -> list[str]:
    return decisions.read_text("utf-8", "replace").splitlines() if decisions.exists() else []


def used_in(lines: Iterable[str]) -> Used:
    """Return what lines of decisions tell to be allowed."""
    found = (_LINE.search(line) for line in lines)
    return frozenset((m[1], m[2].upper(), m[3].upper(), m[4]) for m in found if m is not None)


def unused(granted: Iterable[AclBinding], used: Used) -> list[AclBinding]:
    """Return those of the granted rights that nobody used; reading and writing count as describing, too."""
    return sorted(
        (binding for binding in granted if _is_allowance(binding) and not _is_used(binding, used)),
        key=lambda one: (one.principal, one.name, str(one.operation)),
    )


def _is_allowance(binding: AclBinding) -> bool:
    return AclPermissionType(binding.permission_type) is AclPermissionType.ALLOW


def _is_used(binding: AclBinding, used: Used) -> bool:
    operation, kind = AclOperation(binding.operation), ResourceType(binding.restype)
    is_prefix = ResourcePatternType(binding.resource_pattern_type) is ResourcePatternType.PREFIXED
    return any(
        who == binding.principal
        and what == operation.name
        and kind.name == of
        and (name.startswith(binding.name) if is_prefix else binding.name in (name, _EVERYTHING))
        for who, what, of, name in used
    )


def _more(decisions: Path) -> str:
    lines = {
        "appender.decisions.type": "File",
        "appender.decisions.name": "decisions",
        "appender.decisions.fileName": decisions,
        "appender.decisions.layout.type": "PatternLayout",
        "appender.decisions.layout.pattern": "%m%n",
        "logger.decisions.name": "kafka.authorizer.logger",
        "logger.decisions.level": "debug",
        "logger.decisions.additivity": "false",
        "logger.decisions.appenderRef.decisions.ref": "decisions",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())
