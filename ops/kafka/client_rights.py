"""The rights of one consumer beside the platform: to read the topics that were named for it, and nothing else.

They are held by its principal alone, so they can be taken back alone. Kafka checks no revocation of certificates:
who is revoked is denied everything under that name, and the name is not given out again.
"""

from collections.abc import Iterable

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from ops.kafka.acl_table import APPLICATION_PREFIX
from ops.tls.principal import Principal, Role


def client_group(client: Principal) -> str:
    """The consumer group of a client; it may also use all that begin with this and a colon."""
    return f"{APPLICATION_PREFIX}{client.role.value}-{client.name}"


def client_bindings(client: Principal, topics: Iterable[str]) -> frozenset[AclBinding]:
    """Reading these topics, and the client's own consumer groups; names hold no colon, so these are no other's."""
    group = client_group(client)
    return frozenset(
        [
            *(_binding(client, ResourceType.TOPIC, topic) for topic in topics),
            _binding(client, ResourceType.GROUP, group),
            _binding(client, ResourceType.GROUP, f"{group}:", ResourcePatternType.PREFIXED),
        ]
    )


def is_denied(bindings: Iterable[AclBinding]) -> bool:
    """Tell whether a denial is among them."""
    return any(binding.permission_type == AclPermissionType.DENY for binding in bindings)


def granted_topics(bindings: Iterable[AclBinding]) -> dict[Principal, list[str]]:
    """Return the topics that each client among the holders may read; none for one that is denied."""
    found: dict[Principal, list[str]] = {}
    denied = set()
    prefix = f"User:{Role.CLIENT.value}:"
    for binding in bindings:
        if not binding.principal.startswith(prefix):
            continue
        client = Principal(Role.CLIENT, binding.principal.removeprefix(prefix))
        topics = found.setdefault(client, [])
        if binding.permission_type == AclPermissionType.DENY:
            denied.add(client)
        elif binding.restype == ResourceType.TOPIC:
            topics.append(binding.name)
    return {client: [] if client in denied else sorted(topics) for client, topics in found.items()}


def _binding(
    client: Principal,
    kind: ResourceType,
    name: str,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
) -> AclBinding:
    return AclBinding(kind, name, pattern, client.kafka, "*", AclOperation.READ, AclPermissionType.ALLOW)
