"""What a running broker is told without a restart: to read its certificate again, and whom to refuse from now on."""

import socket
import ssl
from collections.abc import Iterable

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509

from ops.files import write_private
from ops.kafka.admin import KafkaAdmin
from ops.kafka.broker import HOST, KEY_STORE, BrokerPlace, key_store_of
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal, Role
from pipeline.core.errors import ConfigError

# Kafka asks no rights of its super users, so no denial reaches them.
SUPER_ROLES = frozenset({Role.ADMIN, Role.BROKER})
_TIMEOUT_S = 5
_EVERYTHING = (
    (ResourceType.TOPIC, "*"),
    (ResourceType.GROUP, "*"),
    (ResourceType.TRANSACTIONAL_ID, "*"),
    (ResourceType.BROKER, "kafka-cluster"),
)


def denial(principal: Principal) -> frozenset[AclBinding]:
    """Nothing any more, whatever is granted: a denial goes before every grant, and is asked at each request.

    Raises:
        ConfigError: the principal is a super user, whom Kafka denies nothing (code ``super_user``).
    """
    if principal.role in SUPER_ROLES:
        raise ConfigError(
            f"{principal} is a super user of Kafka, whom it denies nothing: replace the authority for the "
            "platform's parts instead, see docs/pki.md",
            code="super_user",
        )
    return frozenset(
        AclBinding(
            kind,
            name,
            ResourcePatternType.LITERAL,
            principal.kafka,
            "*",
            AclOperation.ALL,
            AclPermissionType.DENY,
        )
        for kind, name in _EVERYTHING
    )


def deny(admin: KafkaAdmin, principals: Iterable[Principal]) -> None:
    """Deny everything to these principals, then take away what was granted to them.

    In this order the very next request is refused, and no interruption leaves a name half revoked.

    Raises:
        ConfigError: one of them is a super user.
        TransientError: Kafka did not answer in time.
    """
    for principal in principals:
        wanted = denial(principal)
        held = admin.bindings(principal.kafka)
        admin.add(wanted - held)
        admin.remove(held - wanted)


def reload_certificate(
    place: BrokerPlace, admin: KafkaAdmin, own: CertificateFiles, asking: CertificateFiles
) -> None:
    """Make both listeners of a broker show the certificate in ``own`` to new connections; those that are open go on.

    ``asking`` is a certificate to look with.

    Raises:
        TransientError: Kafka did not take it over in time.
    """
    write_private(place.folder / KEY_STORE, key_store_of(own))
    serial = x509.load_pem_x509_certificate(own.certificate.read_bytes()).serial_number
    listening = {"ssl": place.client_port, "controller": place.controller_port}
    admin.reload_stores(
        listening,
        lambda: all(_shown(port, asking) == serial for port in listening.values()),
        node=place.node,
    )


def _shown(port: int, asking: CertificateFiles) -> int | None:
    """Return the serial number of the certificate that a listener shows now."""
    context = ssl.create_default_context(cafile=str(asking.ca))
    context.load_cert_chain(asking.certificate, asking.key)
    try:
        with (
            socket.create_connection((HOST, port), _TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as channel,
        ):
            shown = channel.getpeercert(binary_form=True)
    except OSError:
        return None
    return None if shown is None else x509.load_der_x509_certificate(shown).serial_number
