"""What an assessment worker and its store tell one another: position, cells found anew, changes to be sent."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.core.assess.model import Assessment, Cell


class Position(NamedTuple):
    """How far the store is assessed: blocks up to ``height``, by the plan of this digest (empty at first)."""

    height: int
    plan: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """All assessments of a cell; they replace what the store has for it."""

    cell: Cell
    assessments: tuple[Assessment, ...]


@dataclass(frozen=True, slots=True)
class Replaced:
    """How many assessments were new, had changed, were as before, or are no more."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class Unsent:
    """An assessment whose change was not sent yet; None is one that is no more. ``key`` as ``Assessment.key``."""

    key: tuple[Any, ...]
    assessment: Assessment | None
