"""Which rights are used: Kafka's own log of decisions, switched on for a while on the broker of this machine.

The broker reads its log settings again every few seconds, so nothing is restarted. Each allowed request is a line
there, which is why it is not always on.
"""

import re
import time
from collections.abc import Callable, Iterable
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
from ops.kafka.broker import LOG_SETTINGS, SETTINGS_SECONDS

DECISIONS: Final = "kafka-decisions.log"
_LINE: Final = re.compile(
    r"Principal = (User:\S+) is Allowed operation = (\w+) from host = \S+ on resource = (\w+):LITERAL:(\S+) for"
)
_EVERYTHING: Final = "*"

Used = frozenset[tuple[str, str, str, str]]
"""Principal as Kafka writes it, operation, kind of resource, its name."""


def watch(
    folder: Path, log_folder: Path, seconds: float, sleep: Callable[[float], None] = time.sleep
) -> Used:
    """Return what was allowed within ``seconds``, by a broker whose settings are in ``folder``.

    The settings of its log are put back and the decisions deleted, whatever happens.
    """
    settings, decisions = folder / LOG_SETTINGS, log_folder / DECISIONS
    before = settings.read_bytes()
    try:
        write_private(settings, before + _more(decisions).encode())
        sleep(SETTINGS_SECONDS + seconds)
        return used_in(decisions.read_text("utf-8", "replace").splitlines() if decisions.exists() else ())
    finally:
        write_private(settings, before)
        # It goes on writing until it has read its settings again.
        sleep(SETTINGS_SECONDS)
        decisions.unlink(missing_ok=True)


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
