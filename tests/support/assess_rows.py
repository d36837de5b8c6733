"""Rows of observations made for tests of the analysis, and a city's plan around them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pipeline.core.assess.assess import assess_rows
from pipeline.core.assess.model import Assessment, Kind, Observed
from pipeline.core.assess.plan import Plan
from pipeline.core.assess.plan_reader import read_plan

CHAIN = "http://127.0.0.1/city"
COUNTRY, CITY, SITE = "US", "unlocode:USMES", "10.0.0.1"
FLOW = "LOCAL:WATER_FLOW"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def at(text: str) -> int:
    """Return the GMT milliseconds of an ISO time, in GMT where it has no offset."""
    when = datetime.fromisoformat(text if "+" in text or text.endswith("Z") else text + "+00:00")
    return round(when.timestamp() * 1000)


def row(time: str | int, value: str, **changes: Any) -> Observed:
    """Return one row; its tracing code is made of its time where none is given."""
    time_ms = at(time) if isinstance(time, str) else time
    fields: dict[str, Any] = {
        "tracing_code": f"CODE-{time_ms}",
        "record": 0,
        "number": 0,
        "time_ms": time_ms,
        "admitted_ms": time_ms + MINUTE,
        "country": COUNTRY,
        "city": CITY,
        "site_id": SITE,
        "indicator": FLOW,
        "data_point": "",
        "exact": value,
        "unit": "G51",
        "quality": 1,
    }
    return Observed(**fields | changes)


def yearly(
    values: dict[tuple[str, str], tuple[str, str]], year: int = 2025, **changes: Any
) -> list[Observed]:
    """Return rows of a year: indicator and data point to value and unit."""
    return [
        row(f"{year}-06-01", value, indicator=code, data_point=point, unit=unit, number=number, **changes)
        for number, ((code, point), (value, unit)) in enumerate(values.items())
    ]


def plan_of(*series: dict[str, Any], **city: Any) -> Plan:
    """Return the plan of our city with these rules, by days unless it says otherwise."""
    settings = {"country": COUNTRY, "city": CITY, "windows": ["day"], "series": list(series)} | city
    return read_plan({"cities": [settings]})


class Figures:
    """All figures of some rows, to be looked up by what they are about."""

    def __init__(self, plan: Plan, rows: Iterable[Observed]) -> None:
        self.all = assess_rows(plan, CHAIN, rows)

    def found(self, kind: Kind, formula: str = "", **fields: Any) -> list[Assessment]:
        """Return the figures of a kind, formula and further fields."""
        return [
            figure
            for figure in self.all
            if figure.kind is kind
            and formula in ("", figure.formula)
            and all(getattr(figure, name) == value for name, value in fields.items())
        ]

    def one(self, kind: Kind, formula: str = "", **fields: Any) -> Assessment:
        """Return the one figure of a kind, formula and further fields."""
        (figure,) = self.found(kind, formula, **fields)
        return figure
