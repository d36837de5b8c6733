"""The rights of each role as data: role x resource x operations. What is not here is refused.

Kafka grants to single principals, so every certificate gets the bindings of its role under its own name
and can lose them alone. READ and WRITE on a topic bring DESCRIBE with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ops.tls.principal import Role
from pipeline.core.topics import Topics

# Consumer groups, Faust application ids and their internal topics begin with this and the role.
APPLICATION_PREFIX = "bkdms-"


class Operation(StrEnum):
    """The Kafka operations that some role needs."""

    READ = "READ"
    WRITE = "WRITE"
    CREATE = "CREATE"
    DELETE = "DELETE"
    DESCRIBE = "DESCRIBE"


@dataclass(frozen=True, slots=True)
class Grant:
    """Operations on a topic or group; ``prefixed`` covers all names that begin with ``name``."""

    resource: str
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


_READ = (Operation.READ,)
_WRITE = (Operation.WRITE,)
_BOTH = (Operation.READ, Operation.WRITE)

# Topic attribute -> operations. The admin and the broker are super users and need no rows.
TOPIC_RIGHTS: Mapping[Role, Mapping[str, tuple[Operation, ...]]] = MappingProxyType(
    {
        Role.SITE: {"packets": _WRITE},
        Role.VALIDATOR: {"packets": _READ, "sites": _READ, "chain": _WRITE, "rejected": _WRITE},
        Role.NODE: {
            # DELETE is for DeleteRecords; the broker's delete.topic.enable=false keeps it from more.
            "chain": (*_BOTH, Operation.DELETE),
            "cosignatures": _BOTH,
            "blocks": _BOTH,
            "sites": _BOTH,
            "rejected": _WRITE,
        },
        Role.REGISTRAR: {"chain": _BOTH, "blocks": _READ},
        Role.PLATFORM: {"blocks": _READ, "observations": _WRITE},
        Role.EXPORTER: {"blocks": _READ},
        Role.API: {"blocks": _READ},
        Role.ASSESS: {"observations": _READ, "assessments": _WRITE},
        Role.ANALYST: {"observations": _READ, "assessments": _READ},
        Role.AUDITOR: {"blocks": _READ, "chain": _READ, "cosignatures": _READ, "rejected": _READ},
    }
)

# Roles whose programs are Faust workers: they keep internal topics under their application id.
WORKER_ROLES = frozenset({Role.VALIDATOR, Role.NODE, Role.PLATFORM, Role.EXPORTER, Role.ASSESS})


def grants(role: Role, topics: Topics) -> tuple[Grant, ...]:
    """What a holder of ``role`` may do on the topics of one deployment."""
    rights = TOPIC_RIGHTS.get(role, {})
    found = [Grant("topic", getattr(topics, topic), operations) for topic, operations in rights.items()]
    if any(Operation.READ in operations for operations in rights.values()):
        found.append(Grant("group", application_prefix(role), _READ, prefixed=True))
    if role in WORKER_ROLES:
        internal = (*_BOTH, Operation.CREATE)
        found.append(Grant("topic", application_prefix(role), internal, prefixed=True))
    return tuple(found)


def application_prefix(role: Role) -> str:
    """How consumer groups and Faust application ids of ``role`` must begin."""
    return f"{APPLICATION_PREFIX}{role.value}"
