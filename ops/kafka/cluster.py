"""Which brokers make up the Kafka of a data folder: their names and numbers, and what several need beside one.

Three brokers are their own three controllers: any one of them may be away, and the other two go on.
"""

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ops.files import write_private
from ops.tls.principal import Principal, Role
from pipeline.core.errors import ConfigError

SIZES: Final = (1, 3)
"""Two could not lose any: a majority of two is two."""
IDENTITY_FILE: Final = "kafka-cluster.json"
_FIRST: Final = "kafka"
_CONTROLLER: Final = "_controller"
_HOST: Final = "127.0.0.1"


def broker_name(node: int) -> str:
    """Return how a broker is called in ports, logs and folders; the first one's name is that of a broker alone."""
    return _FIRST if node == 1 else f"{_FIRST}-{node}"


def controller_name(node: int) -> str:
    """Return how a broker's controller is called among the ports."""
    return f"{broker_name(node)}{_CONTROLLER}"


def is_broker(name: str) -> bool:
    """Tell whether a program of a stack is a broker."""
    return name == _FIRST or name.startswith(f"{_FIRST}-")


def broker_principal(node: int) -> Principal:
    """Return whom a broker's certificate speaks for."""
    return Principal(Role.BROKER, str(node))


def size_in(ports: Mapping[str, int]) -> int:
    """Return for how many brokers a data folder keeps ports; 0 before its first start."""
    return sum(is_broker(name) and not name.endswith(_CONTROLLER) for name in ports)


def chosen_size(ports: Mapping[str, int], wanted: int | None) -> int:
    """Return how many brokers to run: as many as the data folder has, or as wanted in a new one, else one.

    Raises:
        ConfigError: the folder has another number than what is wanted, or no cluster has that many.
    """
    if wanted is not None and wanted not in SIZES:
        raise ConfigError(f"{wanted} brokers: choose {' or '.join(map(str, SIZES))}")
    held = size_in(ports)
    if held and wanted not in {None, held}:
        raise ConfigError(f"this data folder has {held} broker(s), not {wanted}: name a new data folder")
    return held or wanted or 1


@dataclass(frozen=True, slots=True)
class Identity:
    """What a cluster's folders are formatted with: its id, and an id for each broker's folder, in order."""

    cluster: str
    directories: tuple[str, ...]


def new_id() -> str:
    """Return 16 random bytes in URL-safe base64, as Kafka's own tool makes ids."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")


def identity(file: Path, size: int) -> Identity:
    """Return the identity that ``file`` keeps, made when there is none: a lost broker's folder comes back as itself.

    Raises:
        ConfigError: the file is damaged, or of another number of brokers.
    """
    if not file.exists():
        made = Identity(new_id(), tuple(new_id() for _ in range(size)))
        write_private(file, json.dumps(asdict(made), indent=1).encode())
        return made
    try:
        held = json.loads(file.read_text("utf-8"))
        found = Identity(held["cluster"], tuple(held["directories"]))
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{file} is damaged: take it from a backup") from None
    if len(found.directories) != size:
        raise ConfigError(f"{file} is of {len(found.directories)} brokers, not of {size}")
    return found


@dataclass(frozen=True, slots=True)
class Cluster:
    """Several brokers: the ports of their controllers by number, from 1, and their identity."""

    controllers: tuple[int, ...]
    identity: Identity

    @property
    def size(self) -> int:
        """How many brokers there are, each of which holds everything."""
        return len(self.controllers)

    @property
    def format_arguments(self) -> list[str]:
        """What Kafka's tool is told for a folder of this cluster."""
        voters = (
            f"{node}@{_HOST}:{port}:{directory}"
            for node, (port, directory) in enumerate(
                zip(self.controllers, self.identity.directories, strict=True), 1
            )
        )
        return ["--initial-controllers", ",".join(voters), f"--cluster-id={self.identity.cluster}"]

    def settings(self) -> dict[str, str]:
        """Return the settings in which a broker of a cluster differs from one that is alone."""
        size, in_sync = str(self.size), str(in_sync_replicas(self.size))
        servers = ",".join(f"{_HOST}:{port}" for port in self.controllers)
        return {
            "controller.quorum.bootstrap.servers": servers,
            "offsets.topic.replication.factor": size,
            "transaction.state.log.replication.factor": size,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": size,
            "share.coordinator.state.topic.min.isr": in_sync,
            "default.replication.factor": size,
            "min.insync.replicas": in_sync,
            "unclean.leader.election.enable": "false",
            # A follower that stands still is left behind after this long: till then every write waits for it.
            "replica.lag.time.max.ms": "5000",
        }


def in_sync_replicas(size: int) -> int:
    """Return how many brokers must hold a record before it is acknowledged: all but one, and one that is alone."""
    return max(1, size - 1)
