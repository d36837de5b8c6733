"""Kafka's rights as a file of the data folder, so that an emptied Kafka gets back what was granted and denied by hand.

Kafka is the truth while it runs; every command that changes rights writes the file anew.
"""

import json
from enum import Enum
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
from ops.kafka.admin import KafkaAdmin
from pipeline.core.errors import ConfigError

RIGHTS_FILE: Final = "kafka-rights.json"


def keep_rights(admin: KafkaAdmin, data_dir: Path) -> None:
    """Write down everything that is granted and denied now.

    Raises:
        TransientError: Kafka did not answer in time.
    """
    rows = sorted(_row(binding) for binding in admin.bindings())
    write_private(data_dir / RIGHTS_FILE, json.dumps(rows, indent=0).encode())


def give_rights_back(admin: KafkaAdmin, data_dir: Path) -> None:
    """Grant and deny again what the file says, where Kafka knows of no rights at all.

    Raises:
        ConfigError: the file is damaged.
        TransientError: Kafka did not answer in time.
    """
    file = data_dir / RIGHTS_FILE
    if not file.exists() or admin.bindings():
        return
    try:
        bindings = [_binding(row) for row in json.loads(file.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is damaged: take it from a backup, or remove it and issue certificates of others anew"
        ) from error
    admin.add(bindings)


def _row(binding: AclBinding) -> list[str]:
    return [
        binding.principal,
        _name(binding.restype),
        _name(binding.resource_pattern_type),
        binding.name,
        _name(binding.operation),
        _name(binding.permission_type),
        binding.host,
    ]


def _name(value: object) -> str:
    """Return the name of a value that the client library keeps as an enumeration, whatever it was made from."""
    return value.name if isinstance(value, Enum) else str(value)


def _binding(row: list[str]) -> AclBinding:
    principal, kind, pattern, name, operation, permission, host = row
    return AclBinding(
        ResourceType[kind],
        name,
        ResourcePatternType[pattern],
        principal,
        host,
        AclOperation[operation],
        AclPermissionType[permission],
    )
