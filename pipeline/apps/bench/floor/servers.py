"""The servers that floors are measured on: a real Kafka, Redis and, where wanted, PostgreSQL on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ops.kafka.broker import ADMIN
from ops.local_servers import KAFKA, POSTGRES, REDIS, LocalServers
from ops.redis.server import RedisAddress
from ops.stack import EmbeddedStack
from ops.tls.principal import Role
from pipeline.adapters.kafka import KafkaConnection
from pipeline.adapters.redis_ledger import RedisConnection
from pipeline.adapters.tls import TlsFiles
from pipeline.apps.bench.report.cpu import Cpu


@dataclass(frozen=True, slots=True)
class FloorServers:
    """A running stack, as its administrator reaches it; nobody else's data in it is touched.

    PostgreSQL is written into, so ``database_url`` is None unless the stack is for measuring alone.
    """

    stack: EmbeddedStack
    database_url: str | None = None
    _cpus: dict[str, Cpu] = field(default_factory=dict)

    @property
    def local(self) -> LocalServers:
        """Where the servers are."""
        return LocalServers.of(self.stack.data_dir)

    @property
    def kafka(self) -> KafkaConnection:
        """Kafka, over the same TLS as everybody, without a quota."""
        files = self.stack.credentials(ADMIN.role, ADMIN.name)
        tls = TlsFiles(files.ca, files.certificate, files.key)
        return KafkaConnection(self.stack.kafka_bootstrap, tls, "bkdms-floor")

    @property
    def redis(self) -> RedisConnection:
        """Redis, as nodes reach it."""
        return _connection(self.local.redis_admin())

    def cpu(self, server: str) -> Cpu:
        """Return the meter of a server: ``kafka``, ``redis`` or ``postgres``."""
        if server not in self._cpus:
            pids = [child.pid for child in self.stack.children() if child.name == server and child.pid]
            self._cpus[server] = Cpu(pids)
        return self._cpus[server]


@contextmanager
def floor_servers(folder: Path, *, has_postgres: bool = False) -> Iterator[FloorServers]:
    """Run servers of their own in an empty folder.

    Raises:
        ConfigError: Kafka, Redis or PostgreSQL can't be run here.
        TransientError: one did not get ready; the message names its log.
    """
    with EmbeddedStack(folder, has_postgres=has_postgres) as stack:
        url = stack.database_url(Role.PLATFORM, "floor") if has_postgres else None
        yield FloorServers(stack, url)


def _connection(address: RedisAddress) -> RedisConnection:
    tls = address.tls
    files = TlsFiles(tls.ca, tls.certificate, tls.key) if tls is not None else None
    return RedisConnection(
        address.username, address.password_file, address.unix_socket, address.host, address.port, files
    )


__all__ = ["KAFKA", "POSTGRES", "REDIS", "FloorServers", "floor_servers"]
