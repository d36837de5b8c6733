"""Several cities on one Kafka cluster and one Redis: a chain, its topics, nodes and a validator for each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ops.ports import reserve
from ops.tls.principal import Role
from pipeline.apps.authority import ChainFiles, create_chain
from pipeline.apps.bench.enrolments import enrolments
from pipeline.apps.bench.load.whole import WholeStack
from pipeline.apps.bench.plan import BenchPlan
from pipeline.apps.local.deployment import (
    API_NAME,
    ASSESS_NAME,
    PLATFORM_NAME,
    LocalDeployment,
    LocalPlan,
    Program,
)
from pipeline.core.keys import Use
from pipeline.core.topics import Topics

_OTHERS: Final = (PLATFORM_NAME, ASSESS_NAME, API_NAME)


@dataclass(frozen=True, slots=True)
class City:
    """One of the cities: its number from 1, its keys and genesis, its topics, its programs by name."""

    number: int
    files: ChainFiles
    topics: Topics
    nodes: tuple[str, ...]
    validator: str


class CitiesDeployment(LocalDeployment):
    """Brokers, Redis, and for each of ``count`` cities a chain with ``nodes`` accounting nodes and one validator."""

    def __init__(self, data_dir: Path, plan: BenchPlan, count: int, brokers: int, period_ms: int) -> None:
        self._bench, self._count = plan, count
        chain = plan.chain_plan()
        self._base = replace(chain, contract=replace(chain.contract, period_ms=period_ms))
        own = replace(self._base, topic_prefix=_prefix(1), nodes=_nodes(1, plan.nodes))
        super().__init__(data_dir, LocalPlan(own, validators=0, brokers=brokers))

    def cities(self) -> Iterator[City]:
        """Yield every city, with a chain made where there is none; the first has the deployment's own."""
        for number in range(1, self._count + 1):
            files = self.chain if number == 1 else ChainFiles(self.data_dir / f"chain-{number}")
            nodes, topics = _nodes(number, self._bench.nodes), Topics(_prefix(number))
            if not files.genesis_file.exists():
                url = f"{self._base.url}{number}"
                chain = replace(self._base, url=url, topic_prefix=topics.prefix, nodes=nodes)
                create_chain(files.folder, chain, save=self.keys.save)
            yield City(number, files, topics, nodes, f"validator-{number}")

    def start(self, *, servers_only: bool = False) -> None:
        """Start the servers, then every city's programs; returns when all are ready.

        Raises:
            ConfigError: something is missing or the folder is in use.
            TransientError: a part did not get ready.
        """
        super().start(servers_only=True)
        try:
            for city in self.cities():
                if city.number > 1:
                    self.stack.add_topics(city.topics)
            programs = [] if servers_only else self.programs()
            for program in programs:
                self._run(program, self._settings(program))
            for program in programs:
                self.stack.supervisor.await_ready(program.name)
        except BaseException:
            self.stop()
            raise

    def programs(self) -> list[Program]:
        """Return the nodes and the validator of every city."""
        return [program for city in self.cities() for program in self._programs_of(city)]

    def _programs_of(self, city: City) -> Iterator[Program]:
        own = {"genesis": city.files.genesis_file, "topic_prefix": city.topics.prefix}
        for name in city.nodes:
            node: dict[str, Any] = {
                "name": name,
                "key": city.files.node_key(name),
                "mldsa44_key": city.files.node_mldsa44_key(name),
            }
            table = {**own, "node": node, "redis": self._redis(Role.NODE, name)}
            yield Program(name, Role.NODE, ("worker", "account"), table, self._ports()[name])
        command = ("worker", "validate", "--name", city.validator)
        yield Program(city.validator, Role.VALIDATOR, command, own, self._ports()[city.validator])

    def _ports(self) -> dict[str, int]:
        numbers = range(1, self._count + 1)
        names = [name for number in numbers for name in _nodes(number, self._bench.nodes)]
        validators = [f"validator-{number}" for number in numbers]
        return reserve(self.data_dir / "worker-ports.json", [*names, *validators, *_OTHERS])


class CityStack(WholeStack):
    """One city of a running deployment, for filling its topics and reading its blocks."""

    def __init__(self, deployment: CitiesDeployment, plan: BenchPlan, city: City) -> None:
        super().__init__(deployment, plan)
        self.city, self.genesis, self.topics = city, city.files.genesis(), city.topics

    def controls(self) -> list[bytes]:
        """Return the control records that let the plan's sites into this city."""
        registrar = self.deployment.keys.signer(self.city.files.registrar_key, Use.REGISTRAR)
        return list(enrolments(self.plan, self.genesis.chain, registrar))


def _prefix(number: int) -> str:
    return f"city{number}."


def _nodes(city: int, count: int) -> tuple[str, ...]:
    """Return the names of a city's nodes; no other city has them, since one authority certifies all."""
    return tuple(f"node-{(city - 1) * count + place + 1}" for place in range(count))
