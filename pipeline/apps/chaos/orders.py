"""What the chaos command tells the harnesses of running programs: one order a kind of program, taken by one of them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.files import write_private
from pipeline.apps.chaos.steps import How, Moment, Part


@dataclass(frozen=True, slots=True)
class Order:
    """At which step, at which moment of it, what is to happen."""

    step: str
    moment: Moment
    how: How


@dataclass(frozen=True, slots=True)
class Orders:
    """The folder in which orders wait and those taken are kept."""

    folder: Path

    def give(self, part: Part, order: Order) -> None:
        """Let the next program of this kind that comes to the step do it; forget what was taken before."""
        for taken in self.folder.glob("taken.*"):
            taken.unlink()
        write_private(self._file(part), json.dumps(asdict(order)).encode())

    def withdraw(self, part: Part) -> None:
        """Take an order back that nobody has taken."""
        self._file(part).unlink(missing_ok=True)

    def taken_by(self) -> str | None:
        """Return the name of the program that took the order."""
        found = next(self.folder.glob("taken.*"), None)
        return found.name.removeprefix("taken.") if found is not None else None

    def waiting(self, part: Part) -> Order | None:
        """Return the order that waits, if any."""
        try:
            order = json.loads(self._file(part).read_text("utf-8"))
        except FileNotFoundError:
            return None
        return Order(order["step"], Moment(order["moment"]), How(order["how"]))

    def take(self, part: Part, name: str) -> bool:
        """Take the order for oneself; False where another program was first."""
        try:
            self._file(part).rename(self.folder / f"taken.{name}")
        except FileNotFoundError:
            return False
        return True

    def _file(self, part: Part) -> Path:
        return self.folder / f"{part.value}.json"
