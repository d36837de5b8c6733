"""Several chains on one Kafka and one Redis: a partition and an accounting node for each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ops.ports import reserve
from ops.stack import EmbeddedStack
from ops.tls.principal import Role
from pipeline.apps.authority import ChainFiles, create_chain
from pipeline.apps.local.deployment import (
    API_NAME,
    ASSESS_NAME,
    PLATFORM_NAME,
    LocalDeployment,
    LocalPlan,
    Program,
)


class ChainsAlone(LocalDeployment):
    """Kafka, Redis and one accounting node for each of ``count`` chains; nobody else."""

    def __init__(self, data_dir: Path, plan: LocalPlan, count: int) -> None:
        super().__init__(data_dir, plan)
        self._count = count
        self.stack = EmbeddedStack(
            self.data_dir, topics=self.stack.topics, chains=count, ca_keys=lambda: self.keys
        )

    def chain_files(self) -> list[ChainFiles]:
        """Return the files of every chain, made where they are not there; the first is the deployment's own."""
        found = [self.chain]
        for number in range(1, self._count):
            files = ChainFiles(self.data_dir / f"chain-{number}")
            if not files.genesis_file.exists():
                own = replace(
                    self.plan.chain,
                    url=f"{self.plan.chain.url}{number}",
                    partition=number,
                    nodes=(f"node-{number + 1}",),
                )
                create_chain(files.folder, own, save=self.keys.save)
            found.append(files)
        return found

    def programs(self) -> list[Program]:
        """Return the accounting node of every chain."""
        found = []
        for files in self.chain_files():
            [name] = files.genesis().policy.node_names
            own: dict[str, Any] = {
                "genesis": files.genesis_file,
                "node": {
                    "name": name,
                    "key": files.node_key(name),
                    "mldsa44_key": files.node_mldsa44_key(name),
                },
                "redis": self._redis(Role.NODE, name),
            }
            found.append(Program(name, Role.NODE, ("worker", "account"), own, self._ports()[name]))
        return found

    def _ports(self) -> dict[str, int]:
        names = [f"node-{number + 1}" for number in range(self._count)]
        return reserve(self.data_dir / "worker-ports.json", [*names, PLATFORM_NAME, ASSESS_NAME, API_NAME])
