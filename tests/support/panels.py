"""The panels of the dashboards and their questions, read from the files that Grafana reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ops.grafana.board import Board
from ops.grafana.boards import BOARDS


@dataclass(frozen=True)
class Question:
    """One question of one panel: to Prometheus, or to the store by SQL."""

    board: Board
    title: str
    text: str
    is_sql: bool
    is_series: bool
    legend: str

    def __str__(self) -> str:
        return f"{self.board.uid}: {self.title}"


def panels(board: Board) -> list[dict[str, Any]]:
    """Return a dashboard's panels, rows among them, as in its file."""
    found: list[dict[str, Any]] = json.loads(board.file.read_text("utf-8"))["panels"]
    return found


def questions_of(board: Board, panel: dict[str, Any]) -> list[Question]:
    """Return the questions of a panel."""
    return [
        Question(
            board,
            panel["title"],
            target.get("rawSql") or target["expr"],
            "rawSql" in target,
            target.get("format") != "table",
            target.get("legendFormat", ""),
        )
        for target in panel.get("targets", [])
    ]


def questions(*, is_sql: bool) -> Iterator[Question]:
    """Yield all questions to the store, or all to Prometheus."""
    for board in BOARDS:
        for panel in panels(board):
            yield from (one for one in questions_of(board, panel) if one.is_sql is is_sql)
