"""The brokers of a data folder: where they are, and how a supervisor runs them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops import ports
from ops.child import ChildSpec
from ops.kafka import broker
from ops.kafka.admin import KafkaAdmin
from ops.kafka.broker import BrokerPlace, Jvm
from ops.kafka.cluster import (
    IDENTITY_FILE,
    Cluster,
    broker_name,
    broker_principal,
    controller_name,
    identity,
    size_in,
)
from ops.tls.authority import CertificateFiles
from ops.tls.principal import Principal

PROBE_TIMEOUT_S = 2.0
# For each broker: several start at once.
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0


def port_names(size: int) -> list[str]:
    """Return the names of the ports that so many brokers listen on."""
    return [name(node) for node in range(1, size + 1) for name in (broker_name, controller_name)]


def broker_places(data_dir: Path, chosen: Mapping[str, int]) -> tuple[BrokerPlace, ...]:
    """Return where the brokers of a data folder are, by the ports that it keeps."""
    return tuple(
        BrokerPlace(
            data_dir / broker_name(node),
            data_dir / "logs",
            chosen[broker_name(node)],
            chosen[controller_name(node)],
            node,
        )
        for node in range(1, size_in(chosen) + 1)
    )


def bootstrap_of(places: Iterable[BrokerPlace]) -> str:
    """Return what clients call ``bootstrap.servers``: every broker, so that any of them may be away."""
    return ",".join(place.bootstrap for place in places)


@dataclass(frozen=True, slots=True)
class Brokers:
    """The brokers of a data folder, all of them or the only one, and who issues their certificates."""

    data_dir: Path
    places: tuple[BrokerPlace, ...]
    jvm: Jvm
    issue: Callable[[Principal], CertificateFiles]

    def prepare(self) -> None:
        """Write settings and key stores; format what was never formatted.

        Raises:
            ConfigError: Kafka's own tool refused, or the file of the cluster's identity is damaged.
        """
        cluster = None
        if len(self.places) > 1:
            held = identity(self.data_dir / IDENTITY_FILE, len(self.places))
            cluster = Cluster(tuple(place.controller_port for place in self.places), held)
        for place in self.places:
            broker.prepare(place, self.jvm, self.issue(broker_principal(place.node)), cluster)

    def children(self, admin: KafkaAdmin, stage: int) -> list[ChildSpec]:
        """Return the brokers as a supervisor runs them; one of several is ready when ``admin`` sees it there."""
        return [
            ChildSpec(
                name=place.name,
                argv=tuple(broker.command(place, self.jvm)),
                log_file=place.log_folder / f"{place.name}.log",
                probe=self._probe(place, admin),
                ready_timeout_s=READY_TIMEOUT_S * len(self.places),
                stage=stage,
                stop_timeout_s=STOP_TIMEOUT_S,
            )
            for place in self.places
        ]

    def _probe(self, place: BrokerPlace, admin: KafkaAdmin) -> Callable[[], bool]:
        node = place.node if len(self.places) > 1 else None
        return lambda: ports.is_open(place.client_port) and admin.is_ready(PROBE_TIMEOUT_S, node)
