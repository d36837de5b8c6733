"""The rights of each role on Kafka's topics and groups, from the table of access. What is not there is refused.

Kafka grants to single principals, so every certificate gets the bindings of its role under its own name
and can lose them alone. READ and WRITE on a topic bring DESCRIBE with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ops.access_table import ACCESS, Operation
from ops.tls.principal import Role
from pipeline.core.topics import Topics

__all__ = [
    "APPLICATION_PREFIX",
    "TOPIC_RIGHTS",
    "WORKER_ROLES",
    "Grant",
    "Operation",
    "application_prefix",
    "grants",
]

# Consumer groups, Faust application ids and their internal topics begin with this and the role.
APPLICATION_PREFIX = "bkdms-"


@dataclass(frozen=True, slots=True)
class Grant:
    """Operations on a topic or group; ``prefixed`` covers all names that begin with ``name``."""

    resource: str
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


_READ = (Operation.READ,)
_BOTH = (Operation.READ, Operation.WRITE)

TOPIC_RIGHTS: Mapping[Role, Mapping[str, tuple[Operation, ...]]] = MappingProxyType(
    {role: row.topics for role, row in ACCESS.items() if row.topics}
)
"""Topic attribute -> operations, for roles that have any."""

WORKER_ROLES = frozenset(role for role, row in ACCESS.items() if row.is_worker)
"""Roles whose programs are Faust workers: they keep internal topics under their application id."""


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
