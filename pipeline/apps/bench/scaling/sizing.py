"""From unit costs to machines: what so many sites need, and what is full first."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.apps.bench.scaling.costs import Costs

HOUR_S: Final = 3600
YEAR_HOURS: Final = 365 * 24
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Demand:
    """What sites send: packets an hour by each, values in each, and how much busier than the mean the busiest time is.

    Raises:
        ValueError: something is not above 0, or ``peak`` is below 1.
    """

    sites: int
    packets_per_hour: float
    values: int
    peak: float = 1.0

    def __post_init__(self) -> None:
        if min(self.sites, self.packets_per_hour, self.values) <= 0 or self.peak < 1:
            raise ValueError("sites, packets and values are above 0, the peak is at least 1")

    @property
    def packets_per_s(self) -> float:
        """Packets a second at the busiest time."""
        return self.sites * self.packets_per_hour * self.peak / HOUR_S

    @property
    def packets_per_year(self) -> float:
        """Packets of a year."""
        return self.sites * self.packets_per_hour * YEAR_HOURS


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pipeline is run: accounting nodes a chain, brokers that hold each record, and how busy a core may be.

    Raises:
        ValueError: a count is below 1, or ``busy`` not in 0..1.
    """

    nodes: int = 4
    replicas: int = 3
    busy: float = 0.6

    def __post_init__(self) -> None:
        if min(self.nodes, self.replicas) < 1 or not 0 < self.busy <= 1:
            raise ValueError("at least one node and one replica; a core is busy between 0 and 1")


@dataclass(frozen=True, slots=True)
class Need:
    """Processes, cores and bytes for a demand. Cores are whole ones at the bound of ``Layout.busy``."""

    validators: int
    chains: int
    nodes: int
    platform_workers: int
    broker_cores: int
    redis_cores: int
    packets_partitions: int
    blocks_bytes_per_year: float
    store_bytes_per_year: float

    @property
    def cores(self) -> int:
        """Cores of all together."""
        workers = self.validators + self.nodes + self.platform_workers
        return workers + self.broker_cores + self.redis_cores


def need_of(demand: Demand, layout: Layout, costs: Costs) -> Need:
    """Return what a demand needs.

    A validator, a node and a platform worker are one process on one core. A chain is one partition, which one platform
    worker and each of its nodes follow alone: whichever of these is slower says how many chains there must be.
    Each further replica of a record is reckoned to cost its broker as much as the first.
    """
    rate = demand.packets_per_s
    cost = {name: line.at(demand.values) for name, line in costs.cpu_us.items()}
    chains = max(_cores(rate, cost["node"], layout), _cores(rate, cost["platform"], layout))
    validators = _cores(rate, cost["validator"], layout)
    blocks = costs.sizes["block_bytes_per_packet"].at(demand.values) * layout.replicas
    return Need(
        validators=validators,
        chains=chains,
        nodes=chains * layout.nodes,
        platform_workers=chains,
        broker_cores=_cores(rate, cost["kafka"] * layout.replicas, layout),
        redis_cores=_cores(rate, cost["redis"], layout),
        packets_partitions=max(validators, chains),
        blocks_bytes_per_year=blocks * demand.packets_per_year,
        store_bytes_per_year=costs.sizes["store_bytes_per_packet"].at(demand.values)
        * demand.packets_per_year,
    )


def _cores(rate: float, cost_us: float, layout: Layout) -> int:
    return max(1, math.ceil(rate * cost_us / (_US * layout.busy)))


def saturation(demand: Demand, layout: Layout, costs: Costs) -> list[tuple[str, float]]:
    """Return by how many sites one process of each kind on one core is full, the first to be so first.

    The whole of what a program does counts, as if there were one of its kind: one chain, one broker, one validator.
    """
    return sorted(_full_at(demand, layout, costs), key=lambda found: found[1])


def _full_at(demand: Demand, layout: Layout, costs: Costs) -> Iterator[tuple[str, float]]:
    per_site = demand.packets_per_s / demand.sites
    for name, line in costs.cpu_us.items():
        cost_us = line.at(demand.values)
        if cost_us > 0:
            yield name, layout.busy * _US / (cost_us * per_site)
