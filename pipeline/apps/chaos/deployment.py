"""The stack that chaos strikes: a local deployment whose programs run under the harness, and no assessment."""

from pathlib import Path

from ops.files import private_folder
from ops.tls.principal import Role
from pipeline.apps.authority import ChainPlan
from pipeline.apps.chaos.orders import Orders
from pipeline.apps.chaos.steps import Part
from pipeline.apps.local.deployment import DEFAULT_URL, LocalDeployment, LocalPlan, Program
from pipeline.core.contract import Contract

PERIOD_MS = 1_000
_HARNESS = "pipeline.apps.chaos.harness"
_CLI = "pipeline.apps.cli"
_PARTS: dict[tuple[str, ...], Part] = {
    ("worker", "account"): Part.NODE,
    ("worker", "validate"): Part.VALIDATOR,
    ("worker", "platform"): Part.PLATFORM,
    ("site", "run"): Part.SITE,
}


class ChaosDeployment(LocalDeployment):
    """Everything of a chain in a fresh data folder: four nodes, two validators, platform, API, Kafka, Redis."""

    def __init__(self, data_dir: Path, brokers: int = 1) -> None:
        chain = ChainPlan(DEFAULT_URL, contract=Contract(period_ms=PERIOD_MS))
        super().__init__(data_dir, LocalPlan(chain, brokers=brokers), is_short_lived=True)
        self.orders = Orders(self.data_dir / "orders")
        private_folder(self.orders.folder)

    def programs(self) -> list[Program]:
        """Return every program of ours but the assessment, which reads the store and changes nothing in it."""
        return [program for program in super().programs() if program.role is not Role.ASSESS]

    def python(self, module: str, *arguments: str) -> tuple[str, ...]:
        """Return the arguments that run one of our modules; workers and sites run under the harness."""
        part = _PARTS.get(arguments[2:4])
        if module != _CLI or part is None:
            return super().python(module, *arguments)
        settings = Path(arguments[1])
        name = settings.parent.name if part is Part.SITE else settings.stem
        return super().python(_HARNESS, str(self.orders.folder), part.value, name, *arguments)

    def run_site(self, name: str, settings: Path) -> None:
        """Run the agent of a site for as long as the stack runs."""
        argv = self.python(_CLI, "--config", str(settings), "site", "run")
        self.stack.run(name, argv, is_awaited=False)
