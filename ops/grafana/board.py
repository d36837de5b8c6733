"""Put panels together to a dashboard, and write it as Grafana reads it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from ops.grafana.panels import METRICS, STORE

FOLDER: Final = Path(__file__).parent / "dashboards"
TAG: Final = "bkdms"


@dataclass(frozen=True, slots=True)
class Part:
    """A titled row of panels, from left to right, wrapping at 24 grid cells."""

    title: str
    panels: tuple[Builder[model.Panel], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable that the reader picks from what the store holds; ``depends`` are names in the statement."""

    name: str
    label: str
    statement: str
    is_several: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard: ``uid`` is its file's name and the end of its address.

    ``is_by_chain``: it asks Prometheus, which may watch several chains; the reader picks one.
    """

    uid: str
    title: str
    description: str
    parts: tuple[Part, ...]
    choices: tuple[Choice, ...] = ()
    since: str = "now-1h"
    refresh: str = "10s"
    is_by_chain: bool = False

    @property
    def file(self) -> Path:
        """Where its JSON is kept."""
        return FOLDER / f"{self.uid}.json"


def text_of(board: Board) -> str:
    """Return a dashboard as JSON text, the same at each call."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(f"bkdms-{board.uid}")
        .description(board.description)
        .tags([TAG])
        .timezone("utc")
        .time(board.since, "now")
        .refresh(board.refresh)
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .variables(
            ([_chain()] if board.is_by_chain else []) + [_variable(choice) for choice in board.choices]
        )
        .links([_other_boards()])
    )
    for part in board.parts:
        built = built.with_row(dashboard.Row(part.title))
        for panel in part.panels:
            built = built.with_panel(panel)
    whole = built.build()
    for number, placed in enumerate(whole.panels or [], start=1):
        placed.id_val = number
    return json.dumps(whole, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _variable(choice: Choice) -> Builder[model.VariableModel]:
    made = (
        dashboard.QueryVariable(choice.name)
        .label(choice.label)
        .datasource(STORE)
        .query(" ".join(choice.statement.split()))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    return made.multi(True).include_all(True) if choice.is_several else made


def _chain() -> Builder[model.VariableModel]:
    return (
        dashboard.QueryVariable("chain")
        .label("Chain")
        .datasource(METRICS)
        .query("label_values(up, chain)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _other_boards() -> Builder[model.DashboardLink]:
    return (
        dashboard.DashboardLink("bkdms")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(False)
    )
