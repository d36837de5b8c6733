"""Measures floors: every primitive that a stage's list may need, interleaved, and the list summed up."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.apps.bench.floor import brokered, codecs, compute
from pipeline.apps.bench.floor.committed import floor_commits
from pipeline.apps.bench.floor.disk import floor_file
from pipeline.apps.bench.floor.floor import Cost, Floor, FloorRow
from pipeline.apps.bench.floor.lists import Database, Stage, Use, uses
from pipeline.apps.bench.floor.servers import KAFKA, POSTGRES, REDIS, FloorServers, floor_servers
from pipeline.apps.bench.floor.shape import Shape
from pipeline.apps.bench.floor.stored import floor_postgres, floor_sqlite
from pipeline.apps.bench.floor.timing import ROUNDS, Primitive, lowest
from pipeline.core import avro
from pipeline.core.admission import PACKET_SCHEMA
from pipeline.core.errors import ConfigError
from pipeline.core.sealing import Suite
from pipeline.core.storage import OBSERVATIONS

Progress = Callable[[int], None]
_SERVERS: Final = {"kafka": KAFKA, "redis": REDIS, Database.POSTGRESQL.value: POSTGRES}
"""Servers by the first word of the primitives that need them."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a floor is asked for; ``database`` matters to the platform only.

    Raises:
        ConfigError: ``nodes`` is not 1 or 4, or the values don't fit a packet.
    """

    stage: Stage
    values_per_packet: int
    suite: Suite
    nodes: int = 1
    database: Database = Database.SQLITE

    def uses(self) -> tuple[Use, ...]:
        """Return the stage's list."""
        return uses(self.stage, self.shape, self.database)

    @property
    def ways(self) -> frozenset[str]:
        """The names of all primitives on the list."""
        return frozenset(way for use in self.uses() for way in use.ways)

    @property
    def servers(self) -> frozenset[str]:
        """The servers that the list needs: ``kafka``, ``redis``, ``postgres``."""
        firsts = {way.partition(" ")[0] for way in self.ways}
        return frozenset(server for name, server in _SERVERS.items() if name in firsts)

    @property
    def shape(self) -> Shape:
        """The packet that it is about."""
        return Shape(self.values_per_packet, self.suite, self.nodes)


def measure_floor(
    stage: str,
    values_per_packet: int,
    suite: Suite,
    *,
    nodes: int = 1,
    database: str = Database.SQLITE,
    servers: FloorServers | None = None,
    rounds: int = ROUNDS,
    progress: Progress = lambda _: None,
) -> Floor:
    """Measure the floor of a stage for packets of so many one-value records.

    ``stage`` is site, validator, node, platform, export or audit. Starts servers of its own, where it needs any, unless
    running ones are given: ``FloorServers(deployment.stack)``.

    Raises:
        ConfigError: a name or number is none of those, or the servers can't be run here.
        TransientError: a server is away.
    """
    case = Case(Stage(stage), values_per_packet, suite, nodes, Database(database))
    with ExitStack() as running:
        if servers is None and case.servers:
            servers = running.enter_context(own_servers(has_postgres=POSTGRES in case.servers))
        return measure_case(case, servers, rounds, progress)


def measure_case(
    case: Case,
    servers: FloorServers | None,
    rounds: int = ROUNDS,
    progress: Progress = lambda _: None,
) -> Floor:
    """Measure the floor of a case on running servers, None where it needs none; ``progress`` hears of each primitive.

    Raises:
        ConfigError: it needs PostgreSQL, and the servers have none for measuring alone.
        TransientError: a server is away.
    """
    with primitives(case, servers) as made:
        costs = lowest([primitive for primitive in made if primitive.name in case.ways], rounds, progress)
    return summed(case, case.uses(), costs)


def summed(case: Case, listed: Sequence[Use], costs: Mapping[str, Cost]) -> Floor:
    """Return the floor of a list by what its primitives cost."""
    rows = tuple(_row(use, costs) for use in listed)
    return Floor(case.stage, case.values_per_packet, case.suite.name.lower(), rows)


def _row(use: Use, costs: Mapping[str, Cost]) -> FloorRow:
    """Return the cheapest way of a use; by the process's own time, since that is what a stage is measured by."""
    way = min(use.ways, key=lambda name: costs[name].us)
    return FloorRow(way, use.count, costs[way].us, costs[way].server_us)


@contextmanager
def primitives(case: Case, servers: FloorServers | None) -> Iterator[list[Primitive]]:
    """Give every primitive that a case's list names, and some beside.

    Raises:
        ConfigError: it needs PostgreSQL, and the servers have none for measuring alone.
    """
    shape = case.shape
    with ExitStack() as open_parts:
        folder = Path(open_parts.enter_context(tempfile.TemporaryDirectory(prefix="bkdms-floor-")))
        made = [*compute.of_shape(shape), *codecs.of_shape(shape)]
        appended = {"records": shape.packet.encrypted, "packet": shape.packet.raw, "block": shape.block}
        made += open_parts.enter_context(floor_file(folder, appended))
        if any(way.startswith(Database.SQLITE) for way in case.ways):
            made += open_parts.enter_context(floor_sqlite(folder, shape)).primitives()
        if servers is not None:
            made += _served(case, servers, open_parts)
        yield made


def _served(case: Case, servers: FloorServers, open_parts: ExitStack) -> Iterator[Primitive]:
    shape = case.shape
    if KAFKA in case.servers:
        packet = avro.frame(PACKET_SCHEMA, shape.packet.raw)
        message = codecs.encoded(OBSERVATIONS, shape.message)
        broker = open_parts.enter_context(brokered.floor_broker(servers))
        yield from brokered.of_values(broker, {"packet": packet, "block": shape.block, "message": message})
        yield from brokered.of_site(broker, packet)
    if REDIS in case.servers:
        yield from open_parts.enter_context(floor_commits(servers, shape.block))
    if POSTGRES in case.servers:
        if servers.database_url is None:
            raise ConfigError("a floor with PostgreSQL needs servers of its own; give none")
        yield from open_parts.enter_context(floor_postgres(servers, shape)).primitives()


@contextmanager
def own_servers(*, has_postgres: bool) -> Iterator[FloorServers]:
    """Run servers in a folder that is removed afterwards.

    Raises:
        ConfigError: they can't be run here.
    """
    with tempfile.TemporaryDirectory(prefix="bkdms-floor-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
        with floor_servers(Path(folder) / "stack", has_postgres=has_postgres) as servers:
            yield servers
