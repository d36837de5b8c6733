"""A floor: what a packet costs a stage at least, as a sum of primitives that it can't do without."""

from dataclasses import dataclass

from pipeline.apps.bench.report.figure import Figure


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of the processor: of the process that does it, and of the server that it asks, if any."""

    us: float
    server_us: float = 0.0


@dataclass(frozen=True, slots=True)
class FloorRow:
    """One primitive: how often a packet needs it (a part where packets share it), and µs of one."""

    primitive: str
    count: float
    us: float
    server_us: float = 0.0

    @property
    def us_per_packet(self) -> float:
        """Microseconds of the stage's own process that a packet costs by this."""
        return self.count * self.us

    @property
    def server_us_per_packet(self) -> float:
        """Microseconds of the server asked (broker, Redis, database) that a packet costs by this."""
        return self.count * self.server_us


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor of a stage for packets of so many values, in a suite."""

    stage: str
    values_per_packet: int
    suite: str
    rows: tuple[FloorRow, ...]

    @property
    def us_per_packet(self) -> float:
        """Microseconds of the processor that the stage's own process takes for a packet at least."""
        return sum(row.us_per_packet for row in self.rows)

    @property
    def server_us_per_packet(self) -> float:
        """Microseconds that the servers take for it beside."""
        return sum(row.server_us_per_packet for row in self.rows)

    def ratio(self, cpu_us_per_packet: float) -> float:
        """Return how many times the floor a measured process takes."""
        return cpu_us_per_packet / self.us_per_packet

    def figures(self) -> tuple[Figure, ...]:
        """Return the floor and each primitive of it as figures."""
        parts = [Figure(row.primitive, round(row.us_per_packet, 3), "µs") for row in self.rows]
        return (
            Figure("floor_us_per_packet", round(self.us_per_packet, 2), "µs"),
            Figure("floor_server_us_per_packet", round(self.server_us_per_packet, 2), "µs"),
            *parts,
        )
