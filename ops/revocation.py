"""Taking a principal's certificates back: on the list, in Kafka, in Redis, in PostgreSQL; the API reads the list.

The list is the truth. A server that is away when a name is put on it is told at its next start.
"""

from datetime import datetime
from pathlib import Path

from ops.kafka.live import deny
from ops.kafka.rights_file import keep_rights
from ops.local_servers import LocalServers
from ops.lock import holder
from ops.postgres.live import shut_out
from ops.redis.live import turn_off
from ops.redis.server import write_users
from ops.tls.holders import PKI_FOLDER, revoked_in
from ops.tls.principal import Principal, Role
from ops.tls.register import entries
from ops.tls.revoked import REVOKED, Revocation, add_revocation
from pipeline.core.errors import ConfigError

# Kafka denies its super users nothing, and who asks a server can't know that its certificate was taken back.
IRREVOCABLE = frozenset({Role.ADMIN, Role.BROKER, Role.REDIS, Role.POSTGRES})


def revoke(data_dir: Path, principal: Principal, *, reason: str, now: datetime) -> bool:
    """Take everything back from ``principal``, for good, and end what it does on the servers that run in ``data_dir``.

    Returns whether servers were told; without running ones that happens at their next start. May be repeated: the
    first date and reason stay.

    Raises:
        ConfigError: the principal can't be revoked (code ``irrevocable``), or a file is damaged.
        TransientError: a server did not answer; the name is on the list: repeat it.
    """
    enlist(data_dir / PKI_FOLDER, principal, reason=reason, now=now)
    if holder(data_dir) is None:
        return False
    apply_revoked(data_dir, LocalServers.of(data_dir))
    return True


def enlist(folder: Path, principal: Principal, *, reason: str, now: datetime) -> None:
    """Put ``principal`` on the list of the authorities in ``folder``, with every certificate that it ever held.

    Raises:
        ConfigError: the principal can't be revoked (code ``irrevocable``), or a file is damaged.
    """
    if principal.role in IRREVOCABLE:
        raise ConfigError(
            f"a certificate of role {principal.role} can't be taken back alone: replace the authority for the "
            "platform's parts, see docs/pki.md",
            code="irrevocable",
        )
    serials = tuple(one.serial for one in entries(folder) if one.principal == str(principal))
    add_revocation(folder / REVOKED, str(principal), Revocation(f"{now:%Y-%m-%dT%H:%M:%SZ}", reason, serials))


def apply_revoked(data_dir: Path, servers: LocalServers) -> None:
    """Tell the servers of ``data_dir`` everybody who is on its list.

    Raises:
        TransientError: a server did not answer.
    """
    gone = revoked_in(data_dir / PKI_FOLDER)
    admin = servers.kafka_admin()
    deny(admin, gone)
    keep_rights(admin, data_dir)
    write_users(servers.redis, gone)
    turn_off(servers.redis_admin(), gone)
    if servers.postgres is not None:
        shut_out(servers.postgres, servers.asking, gone)
