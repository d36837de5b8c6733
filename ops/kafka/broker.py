"""A KRaft broker on this machine: its settings, how its folder is formatted, how it is started.

Every listener is on the loopback address and asks for a certificate; rights come from ``acl_table``.
"""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from ops.files import private_folder, write_private
from ops.kafka.cluster import Cluster, broker_name, broker_principal, new_id
from ops.kafka.distribution import Distribution
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal, Role
from pipeline.core.errors import ConfigError

HOST = "127.0.0.1"
BROKER = broker_principal(1)
ADMIN = Principal(Role.ADMIN, "local")
HEAP_MB = 512
# Of each of several, which share the clients.
CLUSTER_HEAP_MB = 320
KEY_STORE = "keystore.pem"
LOG_SETTINGS = "log4j2.properties"
# How often the broker looks whether the settings of its log were changed.
SETTINGS_SECONDS = 5
FORMAT_TIMEOUT_S = 180
_LOG_PATTERN = "%d{ISO8601} %p %c %m%n"
# One line of thousands of settings for each client that connects.
_QUIET_CONFIG_LOG = {
    "logger.config.name": "org.apache.kafka.common.config",
    "logger.config.level": "warn",
}
# A request carries at most some batches of at most 1 MiB each.
REQUEST_BYTES = 8 * 1024 * 1024
MESSAGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Jvm:
    """What runs the broker.

    ``is_short_lived`` leaves out the second compiler: ready in two thirds of the time with half the CPU, and
    about half the throughput once warm.
    """

    distribution: Distribution
    heap_mb: int = HEAP_MB
    is_short_lived: bool = False


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Folder, log folder and ports of one broker; ``node`` is its number in the cluster."""

    folder: Path
    log_folder: Path
    client_port: int
    controller_port: int
    node: int = 1

    @property
    def name(self) -> str:
        """How the broker is called among the parts of a stack."""
        return broker_name(self.node)

    @property
    def bootstrap(self) -> str:
        """What clients call ``bootstrap.servers``."""
        return f"{HOST}:{self.client_port}"

    @property
    def properties(self) -> Path:
        """The broker's settings file."""
        return self.folder / "server.properties"

    @property
    def data(self) -> Path:
        """The broker's log segments and metadata."""
        return self.folder / "data"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a broker listens and what it tells clients: ``client`` and ``outside`` are ``host:port`` as they call it.

    ``outside`` is a second listener, for those who know the machine by another name. The controller is asked by
    the broker itself alone.
    """

    client: str
    controller_port: int
    bind: str = HOST
    outside: str | None = None


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose certificates a broker takes: ``clients`` where programs and sites connect, ``parts`` for controllers."""

    clients: Path
    parts: Path


def prepare(
    place: BrokerPlace, jvm: Jvm, certificate: CertificateFiles, cluster: Cluster | None = None
) -> None:
    """Write settings and key store; format the data folder when it has never been formatted.

    ``cluster`` is what the broker is one of; without it is alone.

    Raises:
        ConfigError: Kafka's own tool refused to format the folder.
    """
    private_folder(place.folder)
    key_store = place.folder / KEY_STORE
    write_private(key_store, key_store_of(certificate))
    listening = Listening(place.bootstrap, place.controller_port)
    trust = Trust(clients=certificate.clients, parts=certificate.ca)
    text = properties(
        listening, key_store=key_store, trust=trust, data=place.data, node=place.node, cluster=cluster
    )
    write_private(place.properties, text.encode())
    write_private(place.folder / LOG_SETTINGS, _logging(place).encode())
    if not (place.data / "meta.properties").exists():
        _format(place, jvm, cluster)


def command(place: BrokerPlace, jvm: Jvm) -> list[str]:
    """The arguments that run the broker."""
    return [*_java(place, jvm), "kafka.Kafka", str(place.properties)]


def _format(place: BrokerPlace, jvm: Jvm, cluster: Cluster | None) -> None:
    kind = cluster.format_arguments if cluster is not None else ["--standalone", f"--cluster-id={new_id()}"]
    tool = [*_java(place, replace(jvm, is_short_lived=True)), "kafka.tools.StorageTool"]
    # Killed before its end it leaves no meta.properties or a whole one: the next start does the rest.
    answer = subprocess.run(  # noqa: S603
        [*tool, "format", *kind, "-c", str(place.properties)],
        capture_output=True,
        text=True,
        timeout=FORMAT_TIMEOUT_S,
        check=False,
    )
    if answer.returncode != 0:
        said = (answer.stdout + answer.stderr).strip().splitlines()
        raise ConfigError(f"Kafka could not format {place.data}: {said[-1] if said else 'no reason given'}")


def _java(place: BrokerPlace, jvm: Jvm) -> list[str]:
    return [
        str(jvm.distribution.java),
        f"-Xms{jvm.heap_mb}m",
        f"-Xmx{jvm.heap_mb}m",
        *(["-XX:TieredStopAtLevel=1"] if jvm.is_short_lived else []),
        "-XX:+UseSerialGC",
        "-Xshare:auto",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={place.folder / LOG_SETTINGS}",
        "-cp",
        jvm.distribution.classpath,
    ]


def key_store_of(certificate: CertificateFiles) -> bytes:
    """A broker's key store: its key and certificate in one PEM file."""
    return certificate.key.read_bytes() + certificate.certificate.read_bytes()


def properties(
    listening: Listening,
    *,
    key_store: Path,
    trust: Trust,
    data: Path,
    node: int = 1,
    cluster: Cluster | None = None,
) -> str:
    """The settings of a broker that is its own controller; the paths are those that the broker sees.

    ``node`` is its number in a ``cluster``, where it is not alone.
    """
    told = {"SSL": listening.client, "OUTSIDE": listening.outside}
    clients = {name: address for name, address in told.items() if address is not None}
    controller = f"CONTROLLER://{HOST}:{listening.controller_port}"
    bound = [f"{name}://{listening.bind}:{address.rpartition(':')[2]}" for name, address in clients.items()]
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.bootstrap.servers": f"{HOST}:{listening.controller_port}",
        "listeners": ",".join([*bound, controller]),
        "advertised.listeners": ",".join(
            [*(f"{name}://{address}" for name, address in clients.items()), controller]
        ),
        "listener.security.protocol.map": ",".join(f"{name}:SSL" for name in (*clients, "CONTROLLER")),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "SSL",
        "log.dirs": str(data),
    }
    settings |= _transport(key_store, trust) | _rights(cluster) | _single_node() | _limits()
    settings |= cluster.settings() if cluster is not None else {}
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _transport(key_store: Path, trust: Trust) -> dict[str, str]:
    return {
        "ssl.client.auth": "required",
        "ssl.enabled.protocols": "TLSv1.3",
        "ssl.protocol": "TLSv1.3",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(key_store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trust.clients),
        # A site's certificate means nothing here: its authority is unknown.
        "listener.name.controller.ssl.truststore.type": "PEM",
        "listener.name.controller.ssl.truststore.location": str(trust.parts),
        "ssl.endpoint.identification.algorithm": "https",
    }


def _rights(cluster: Cluster | None) -> dict[str, str]:
    brokers = [broker_principal(node) for node in range(1, (cluster.size if cluster is not None else 1) + 1)]
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": ";".join(principal.kafka for principal in (ADMIN, *brokers)),
        # A subject of another form keeps its full name, to which nothing is granted; so does one whose unit, by which
        # its authority is limited, is not its role. Backslashes are doubled for the settings file.
        "ssl.principal.mapping.rules": r"RULE:^CN=(([a-z]+):[A-Za-z0-9._-]+),OU=\\2$/$1/,DEFAULT",
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "false",
    }


def _single_node() -> dict[str, str]:
    return {
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        # A killed broker may register again only when its old session is over: nine seconds by default.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "1000",
        # Without it the first rebalance of a group waits three seconds for members that may follow.
        "group.initial.rebalance.delay.ms": "0",
    }


def _limits() -> dict[str, str]:
    return {
        "message.max.bytes": str(MESSAGE_BYTES),
        "socket.request.max.bytes": str(REQUEST_BYTES),
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.threads": "1",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "num.recovery.threads.per.data.dir": "2",
        "log.retention.ms": "-1",
        "log.message.timestamp.type": "LogAppendTime",
    }


def console_logging() -> str:
    """Settings of the broker's log for where standard output is collected."""
    lines = {
        "status": "error",
        "appender.console.type": "Console",
        "appender.console.name": "console",
        "appender.console.layout.type": "PatternLayout",
        "appender.console.layout.pattern": _LOG_PATTERN,
        "rootLogger.level": "info",
        "rootLogger.appenderRef.console.ref": "console",
    }
    return "".join(f"{key}={value}\n" for key, value in (lines | _QUIET_CONFIG_LOG).items())


def _logging(place: BrokerPlace) -> str:
    log = place.log_folder / f"{place.name}-server"
    lines = {
        "status": "error",
        "monitorInterval": str(SETTINGS_SECONDS),
        "appender.file.type": "RollingFile",
        "appender.file.name": "file",
        "appender.file.fileName": f"{log}.log",
        "appender.file.filePattern": f"{log}.%i.log",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": _LOG_PATTERN,
        "appender.file.policies.type": "Policies",
        "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size.size": "10MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": "3",
        "rootLogger.level": "info",
        "rootLogger.appenderRef.file.ref": "file",
    }
    return "".join(f"{key}={value}\n" for key, value in (lines | _QUIET_CONFIG_LOG).items())
