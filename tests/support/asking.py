"""Asks what a dashboard asks, of a running Prometheus and of a store, and returns what Grafana would draw."""

import re
import time
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from ops.grafana import macros
from tests.support.panels import Question
from tests.support.pictures import Answer, Points
from tests.support.prometheus import RunningPrometheus


@dataclass(frozen=True)
class Asking:
    """Where to ask, and what a reader looks at; ``since`` (seconds) is where Prometheus' time begins."""

    prometheus: RunningPrometheus
    conninfo: str
    shown: macros.Shown
    since: float
    scrape_s: float = 1.0

    def series(self, question: Question) -> dict[str, Points]:
        """Return the lines of a question to Prometheus since the beginning, a point a scrape."""
        live = replace(self.shown, interval_s=max(1, round(self.scrape_s)))
        text = macros.expression(question.text, live)
        found = self.prometheus.query_range(text, time.time() - self.since, self.scrape_s)
        return {
            _name(question.legend, one["metric"], number): [
                (float(at), float(value)) for at, value in one["values"]
            ]
            for number, one in enumerate(found)
        }

    def rows(self, question: Question) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return columns and rows of a question to the store, asked as Grafana's role."""
        with psycopg.connect(self.conninfo) as reader:
            found = reader.execute(macros.statement(question.text, self.shown).encode())
            return [column.name for column in found.description or ()], found.fetchall()

    def answer(self, question: Question) -> Answer:
        """Return what a panel draws."""
        if not question.is_sql:
            return Answer(self.series(question))
        columns, rows = self.rows(question)
        if not question.is_series:
            return Answer({}, columns, rows)
        lines: dict[str, Points] = {}
        for row in rows:
            at = row[0].timestamp() if hasattr(row[0], "timestamp") else float(row[0])
            name = next((value for value in row[1:] if isinstance(value, str)), "")
            for column, value in zip(columns[1:], row[1:], strict=True):
                if value is not None and not isinstance(value, str):
                    lines.setdefault(name or column, []).append((at, float(value)))
        return Answer(lines)


def _name(legend: str, labels: dict[str, str], number: int) -> str:
    if not legend:
        return labels.get("instance", f"{number}")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()
