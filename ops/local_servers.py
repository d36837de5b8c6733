"""Kafka, Redis and, where it runs, PostgreSQL of a data folder, as its administrator reaches them from any process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops import ports
from ops.access_table import Quota
from ops.kafka.admin import KafkaAdmin
from ops.kafka.broker import ADMIN, BrokerPlace
from ops.kafka.parts import bootstrap_of, broker_places, port_names
from ops.kafka.quotas import NONE_GIVEN
from ops.postgres import server as postgres
from ops.postgres.program import find_programs
from ops.redis.server import RedisAddress, RedisPlace, place
from ops.tls.authority import CertificateFiles
from ops.tls.holders import certificate_folder
from ops.tls.principal import Role

KAFKA = "kafka"
REDIS = "redis"
POSTGRES = "postgres"
PORTS_FILE = "ports.json"


@dataclass(frozen=True, slots=True)
class LocalServers:
    """Where the servers are; ``asking`` is the administrator's certificate."""

    brokers: tuple[BrokerPlace, ...]
    redis: RedisPlace
    postgres: postgres.PostgresPlace | None
    asking: CertificateFiles

    @classmethod
    def of(cls, data_dir: Path) -> "LocalServers":
        """The servers that run in ``data_dir``.

        Raises:
            ConfigError: the file of ports is damaged, or a program is not installed any more.
        """
        chosen = ports.reserve(data_dir / PORTS_FILE, (*port_names(1), REDIS))
        logs = data_dir / "logs"
        database = None
        if POSTGRES in chosen and ports.is_open(chosen[POSTGRES]):
            database = postgres.place(find_programs(), data_dir / POSTGRES, chosen[POSTGRES])
        return cls(
            broker_places(data_dir, chosen),
            place(data_dir / REDIS, logs, chosen[REDIS]),
            database,
            CertificateFiles.of(certificate_folder(data_dir, ADMIN)),
        )

    @property
    def kafka_bootstrap(self) -> str:
        """What clients of Kafka call ``bootstrap.servers``."""
        return bootstrap_of(self.brokers)

    def kafka_admin(self, quotas: Mapping[Role, Quota] = NONE_GIVEN) -> KafkaAdmin:
        """A client that may do everything in Kafka; ``quotas`` go before the table of access."""
        return KafkaAdmin(self.kafka_bootstrap, self.asking, quotas)

    def redis_admin(self) -> RedisAddress:
        """Where Redis is for its administrator."""
        return self.redis.address("admin", self.asking)
