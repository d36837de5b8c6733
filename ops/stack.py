"""A real Kafka, a real Redis and, if wanted, a real PostgreSQL in one data folder: certificates and rights included.

``start`` brings an empty folder, a used one and one left by a crash to the same running state.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ops import ports
from ops.access_table import Quota
from ops.child import ChildSpec, ChildStatus
from ops.files import private_folder
from ops.kafka import broker, distribution
from ops.kafka.admin import KafkaAdmin
from ops.kafka.cluster import broker_principal, chosen_size
from ops.kafka.live import deny
from ops.kafka.parts import Brokers, bootstrap_of, broker_places, port_names
from ops.kafka.quotas import NONE_GIVEN
from ops.kafka.rights_file import give_rights_back, keep_rights
from ops.kafka.topic_table import topic_table
from ops.local_servers import PORTS_FILE, POSTGRES, REDIS, LocalServers
from ops.lock import FolderLock
from ops.postgres import roles
from ops.postgres import server as postgres
from ops.postgres.program import find_programs
from ops.postgres.role_table import CERTIFICATE_ROLES
from ops.redis import server
from ops.redis.acl_table import redis_user
from ops.redis.live import open_account
from ops.renewal import Renewal, show_renewed
from ops.supervisor import Supervisor
from ops.tls.authority import CertificateFiles
from ops.tls.generation import PLAIN_CA_KEYS, CaKeys
from ops.tls.holders import USUAL_LIFETIMES, Holders, Lifetimes
from ops.tls.principal import Principal, Role
from pipeline.core.errors import ConfigError
from pipeline.core.topics import Topics

INFRASTRUCTURE_STAGE = 0
WORKER_STAGE = 1
REDIS_SERVER = Principal(Role.REDIS, "1")
POSTGRES_SERVER = Principal(Role.POSTGRES, "1")

_T = TypeVar("_T")


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


class EmbeddedStack:
    """Kafka, Redis and the programs that run beside them, on this machine, from one data folder.

    ``brokers`` of Kafka, each with a copy of everything; None: as many as the folder has, one in a new folder.
    ``has_postgres`` runs PostgreSQL, too. ``is_short_lived`` starts Kafka faster and makes it slower afterwards:
    for demonstrations and tests. ``ca_keys`` returns where the authorities' keys are kept.

    Raises:
        ConfigError: the folder's path holds a character that Kafka's settings can't hold.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        topics: Topics | None = None,
        chains: int = 1,
        brokers: int | None = None,
        kafka_heap_mb: int | None = None,
        has_postgres: bool = False,
        is_short_lived: bool = False,
        lifetimes: Lifetimes = USUAL_LIFETIMES,
        quotas: Mapping[Role, Quota] = NONE_GIVEN,
        ca_keys: Callable[[], CaKeys] = lambda: PLAIN_CA_KEYS,
        now: Callable[[], datetime] = utc_now,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.data_dir = _nameable(data_dir.resolve())
        self.topics = topics or Topics()
        self._deployments = {self.topics: chains}
        self._wanted_brokers = brokers
        self._heap_mb = kafka_heap_mb
        self._has_postgres = has_postgres
        self._is_short_lived = is_short_lived
        self._lifetimes = lifetimes
        self._quotas = quotas
        self._ca_keys = ca_keys
        self._now = now
        self._say = say
        self._lock: FolderLock | None = None
        self._supervisor: Supervisor | None = None
        self._holders: Holders | None = None
        self._admin: KafkaAdmin | None = None
        self._brokers: tuple[broker.BrokerPlace, ...] | None = None
        self._redis: server.RedisPlace | None = None
        self._postgres: postgres.PostgresPlace | None = None
        self._renewal: Renewal | None = None
        # Servers that still show the certificate before this one.
        self._behind: set[Principal] = set()

    def start(self) -> None:
        """Start everything and come back when it can be used.

        Raises:
            ConfigError: something is missing, the folder or a port is in use; the message says what to do.
            TransientError: a program did not get ready; the message names its log file.
        """
        if self._lock is not None:
            raise ConfigError(f"the stack in {self.data_dir} is running already")
        self._lock = FolderLock(self.data_dir)
        try:
            self._supervisor = Supervisor(self.data_dir)
            self._holders = Holders(self.data_dir, self._now, self._lifetimes, self._ca_keys())
            self._start_servers()
            self._renewal = Renewal(self.renew, self._say)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all programs in order and let the folder go. May be called twice."""
        if self._renewal is not None:
            self._renewal.close()
            self._renewal = None
        if self._supervisor is not None:
            self._supervisor.close()
            self._supervisor = None
        self._admin = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "EmbeddedStack":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log_dir(self) -> Path:
        """Where every program of the stack logs."""
        return self.data_dir / "logs"

    @property
    def kafka_bootstrap(self) -> str:
        """``host:port`` of the brokers' mutual TLS listeners, with commas where there are several."""
        return bootstrap_of(_started(self._brokers))

    @property
    def brokers(self) -> int:
        """How many brokers run, and so on how many each record is."""
        return len(_started(self._brokers))

    @property
    def supervisor(self) -> Supervisor:
        """Kills, stops and restarts children by name; ``kafka`` and ``redis`` are two of them."""
        return _started(self._supervisor)

    def redis_address(self, user: str, files: CertificateFiles) -> server.RedisAddress:
        """Where Redis is for ``user`` (``node``, ``reader`` or ``admin``), connecting with ``files``."""
        return _started(self._redis).address(user, files)

    def redis_account(self, role: Role, name: str) -> server.RedisAddress:
        """Where Redis is for ``role:name``, as a user of that name with its role's rights.

        Raises:
            ConfigError: the role has no business in Redis, or the principal was revoked.
            TransientError: Redis did not answer.
        """
        principal = Principal(role, name)
        files, kind = self.credentials(role, name), redis_user(role)
        if kind is None:
            raise ConfigError(f"role {role} has no rights in Redis")
        where = _started(self._redis)
        if not (where.folder / "passwords" / str(principal)).exists():
            admin = where.address("admin", self._issue(broker.ADMIN))
            open_account(admin, server.user_line(where.folder / "passwords", str(principal), kind))
            server.write_users(where)
        return where.address(str(principal), files)

    def database_url(self, role: Role, name: str) -> str:
        """SQLAlchemy's URL of PostgreSQL for ``role:name``, as the database role that its certificate speaks for.

        Raises:
            ConfigError: the stack runs without PostgreSQL.
        """
        files = self.credentials(role, name)
        return postgres.url(self._database(), CERTIFICATE_ROLES[role], roles.DATABASE, files)

    def database_service(self, role: Role, name: str) -> str:
        """The same for psql: a section of libpq's service file.

        Raises:
            ConfigError: the stack runs without PostgreSQL.
        """
        files = self.credentials(role, name)
        return postgres.service(self._database(), CERTIFICATE_ROLES[role], roles.DATABASE, files)

    def _database(self) -> postgres.PostgresPlace:
        if self._postgres is None:
            raise ConfigError(f"no PostgreSQL runs in {self.data_dir}: start it with `bkdms up --postgres`")
        return self._postgres

    def credentials(self, role: Role | str, name: str) -> CertificateFiles:
        """Certificate of ``role:name``, made when missing or old, with its role's rights in Kafka."""
        principal = Principal(Role(role), name)
        self.enrol([principal])
        return self._issue(principal)

    def renew(self) -> list[Principal]:
        """Make certificates anew that are old, and have the servers show theirs; programs read theirs by themselves.

        Called every hour while the stack runs. Returns whose certificates were renewed.

        Raises:
            TransientError: a server did not answer; it is told again by the next call.
        """
        return _started(self._holders).renew(tell=self._tell)

    def _tell(self, renewed: list[Principal]) -> None:
        own = {broker_principal(place.node) for place in _started(self._brokers)}
        self._behind.update((own | {REDIS_SERVER, POSTGRES_SERVER}) & set(renewed))
        for principal in tuple(self._behind):
            show_renewed(LocalServers.of(self.data_dir), principal, self._issue(principal))
            self._behind.discard(principal)

    def enrol(self, principals: Iterable[Principal]) -> None:
        """Certificates and rights for many at once."""
        wanted = tuple(principals)
        for principal in wanted:
            self._issue(principal)
        _started(self._admin).grant(wanted, self._deployments)

    def add_topics(self, topics: Topics, *, chains: int = 1) -> None:
        """Another deployment on the same Kafka: its topics, and rights for everyone who has a certificate."""
        self._deployments[topics] = chains
        admin = _started(self._admin)
        self._apply_topics(topics, chains)
        admin.grant(_started(self._holders).all(), [topics])

    def _apply_topics(self, topics: Topics, chains: int) -> None:
        table = topic_table(topics, chains=chains, brokers=self.brokers)
        _started(self._admin).apply_topics(table, replicas=self.brokers)

    def run(
        self,
        name: str,
        argv: Iterable[str],
        *,
        probe: Callable[[], bool] | None = None,
        is_restarted: bool = True,
        is_awaited: bool = True,
        environment: Mapping[str, str] | None = None,
        stop_timeout_s: float = 30.0,
    ) -> None:
        """Run a program beside Kafka and Redis; it is ended before them. Its log is ``logs/<name>.log``.

        Raises:
            ConfigError: the name is taken.
            TransientError: it did not get ready.
        """
        spec = ChildSpec(
            name=name,
            argv=tuple(argv),
            log_file=self.log_dir / f"{name}.log",
            probe=probe,
            is_restarted=is_restarted,
            environment=environment or {},
            stage=WORKER_STAGE,
            stop_timeout_s=stop_timeout_s,
        )
        self.supervisor.start(spec, is_awaited=is_awaited)

    def children(self) -> tuple[ChildStatus, ...]:
        """Every program of the stack."""
        return self.supervisor.children()

    def _issue(self, principal: Principal) -> CertificateFiles:
        return _started(self._holders).issue(principal)

    def _start_servers(self) -> None:
        private_folder(self.log_dir)
        began = time.monotonic()
        port_file = self.data_dir / PORTS_FILE
        size = chosen_size(ports.reserve(port_file, ()), self._wanted_brokers)
        wanted = [*port_names(size), REDIS, *[POSTGRES] * self._has_postgres]
        chosen = ports.reserve(port_file, wanted)
        for name in wanted:
            ports.demand_free(chosen[name], port_file)
        self._start_redis(chosen[REDIS])
        names = self._start_kafka(chosen)
        if self._has_postgres:
            self._start_postgres(chosen[POSTGRES])
        self.supervisor.await_ready(REDIS)
        for name in names:
            self.supervisor.await_ready(name)
        admin = _started(self._admin)
        for topics, chains in self._deployments.items():
            self._apply_topics(topics, chains)
        give_rights_back(admin, self.data_dir)
        # Whatever Kafka remembers or forgot: who is on the list stays out.
        deny(admin, _started(self._holders).revoked())
        admin.grant(_started(self._holders).all(), self._deployments)
        keep_rights(admin, self.data_dir)
        self._say(f"{self._names()} are ready after {time.monotonic() - began:.1f} s")

    def _names(self) -> str:
        return "Kafka, Redis and PostgreSQL" if self._has_postgres else "Kafka and Redis"

    def _start_kafka(self, chosen: Mapping[str, int]) -> list[str]:
        """Start every broker; return their names."""
        places = broker_places(self.data_dir, chosen)
        heap_mb = self._heap_mb or (broker.HEAP_MB if len(places) == 1 else broker.CLUSTER_HEAP_MB)
        jvm = broker.Jvm(distribution.ensure(), heap_mb, self._is_short_lived)
        parts = Brokers(self.data_dir, places, jvm, self._issue)
        parts.prepare()
        admin = KafkaAdmin(bootstrap_of(places), self._issue(broker.ADMIN), self._quotas)
        self._brokers, self._admin = places, admin
        for spec in parts.children(admin, INFRASTRUCTURE_STAGE):
            self.supervisor.start(spec, is_awaited=False)
        return [place.name for place in places]

    def _start_redis(self, port: int) -> None:
        place = server.place(self.data_dir / REDIS, self.log_dir, port)
        server.prepare(place, self._issue(REDIS_SERVER), _started(self._holders).revoked())
        self._redis = place
        address = place.address("admin", self._issue(broker.ADMIN))
        spec = ChildSpec(
            name=REDIS,
            argv=tuple(server.command(place)),
            log_file=self.log_dir / "redis.log",
            probe=lambda: server.is_ready(address),
            stage=INFRASTRUCTURE_STAGE,
        )
        self.supervisor.start(spec, is_awaited=False)

    def _start_postgres(self, port: int) -> None:
        place = postgres.place(find_programs(), self.data_dir / POSTGRES, port)
        postgres.prepare(
            place,
            self._issue(POSTGRES_SERVER),
            revoked=_started(self._holders).revoked(),
            is_short_lived=self._is_short_lived,
        )
        admin = self._issue(broker.ADMIN)
        log_file = self.log_dir / "postgres.log"
        spec = postgres.child(place, log_file, admin, name=POSTGRES, stage=INFRASTRUCTURE_STAGE)
        self.supervisor.start(spec)
        roles.apply_roles(postgres.admin_address(place, admin))
        self._postgres = place


def _nameable(folder: Path) -> Path:
    # Kafka's settings are read as Latin-1, with lists at commas and escapes at backslashes.
    text = str(folder)
    if not text.isascii() or not text.isprintable() or set(text) & set(',:"\\'):
        raise ConfigError(
            f"{folder}: name another data folder, in ASCII and without comma, colon, quote, backslash"
        )
    return folder


def _started(part: _T | None) -> _T:
    if part is None:
        raise ConfigError("the stack is not running: call start first")
    return part
