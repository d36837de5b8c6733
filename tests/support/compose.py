"""docker-compose.yml and Dockerfiles as tests read them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
PLAN = ROOT / "ops" / "compose" / "plan.toml"
DOCKERFILES = ("Dockerfile", "Dockerfile.site")


def load() -> dict[str, Any]:
    """Return the whole file; merges are done."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return found


def services() -> dict[str, dict[str, Any]]:
    """Return every service by name."""
    found: dict[str, dict[str, Any]] = load()["services"]
    return found


def runs_once(service: dict[str, Any]) -> bool:
    """Tell whether a service does its work and ends."""
    return bool(service["restart"] == "no")


def in_order(every: dict[str, dict[str, Any]]) -> list[str]:
    """Return the services' names so that each comes after those it depends on."""
    ordered: list[str] = []

    def visit(name: str, on_the_way: tuple[str, ...] = ()) -> None:
        assert name not in on_the_way, f"{name} depends on itself"
        for other in every[name].get("depends_on", {}):
            visit(other, (*on_the_way, name))
        if name not in ordered:
            ordered.append(name)

    for name in every:
        visit(name)
    return ordered


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    word: str
    rest: str

    @property
    def arguments(self) -> list[str]:
        """Its JSON list, else its words."""
        if self.rest.startswith("["):
            found: list[str] = json.loads(self.rest)
            return found
        return self.rest.split()


def instructions(dockerfile: str) -> list[Instruction]:
    """Read a Dockerfile."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / dockerfile).read_text("utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [
        Instruction(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)
    ]


def last(dockerfile: str, word: str) -> Instruction:
    """Return the instruction that counts when several are there."""
    return [one for one in instructions(dockerfile) if one.word == word][-1]
