"""What a running Redis is told without a restart: to read its certificate again, who has an account, who has none."""

from collections.abc import Iterable

import redis

from ops.redis.server import RedisAddress, client
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal
from pipeline.core.errors import TransientError


def reload_certificate(admin: RedisAddress, own: CertificateFiles) -> None:
    """Show new connections the certificate in ``own``; those that are open go on.

    A Redis on a Unix socket has none.

    Raises:
        TransientError: Redis does not answer, or refuses (code ``redis``).
    """
    if admin.unix_socket is not None:
        return
    # Read again though the names are the same; both at once, since they belong together.
    _tell(admin, ["CONFIG", "SET", "tls-cert-file", str(own.certificate), "tls-key-file", str(own.key)])


def open_account(admin: RedisAddress, line: str) -> None:
    """Let a user in whose line of the ACL file is ``line``.

    Raises:
        TransientError: Redis does not answer, or refuses (code ``redis``).
    """
    _tell(admin, ["ACL", "SETUSER", *line.split()[1:]])


def turn_off(admin: RedisAddress, revoked: Iterable[Principal]) -> None:
    """Let nobody in under these names, and end their connections.

    Raises:
        TransientError: Redis does not answer, or refuses (code ``redis``).
    """
    names = [str(principal) for principal in revoked]
    # Removing a user ends its connections, too.
    if names:
        _tell(admin, ["ACL", "DELUSER", *names])


def _tell(admin: RedisAddress, command: Iterable[str]) -> None:
    connection = client(admin)
    try:
        connection.execute_command(*command)  # type: ignore[no-untyped-call]
    except redis.RedisError as error:
        raise TransientError(f"Redis does not do what it is told: {error}", code="redis") from error
    finally:
        connection.close()
