"""What the bundled files hold, read without the project: csv, Decimal and clock rules written out by hand.

Imports nothing of the pipeline nor of the connectors, so that the two can disagree. ``python -m
tests.vectors.generate_samples`` writes ``samples.json`` beside this file.
"""

import csv
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "connectors" / "samples"
Reading = tuple[int, Decimal]


def _ms(when: datetime) -> int:
    return round((when - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def _nth_sunday(year: int, month: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))


def _chicago_summer(text: str) -> int:
    """All of the traffic files lie in summer 2015, GMT-5."""
    return _ms(datetime.strptime(text + " -0500", "%Y-%m-%d %H:%M:%S %z"))


def _seattle_midnight(text: str) -> int:
    """GMT-7 from the day after the second Sunday of March to the first Sunday of November, else GMT-8."""
    year, month, day = map(int, text.split("/"))
    in_summer = _nth_sunday(year, 3, 2) < date(year, month, day) <= _nth_sunday(year, 11, 1)
    return _ms(datetime(year, month, day, 7 if in_summer else 8, tzinfo=UTC))


def _with_offset(text: str) -> int:
    return _ms(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z"))


def _first_of_year(text: str) -> int:
    return _ms(datetime.strptime(text + " +0000", "%Y-%m-%d %z"))


def _read(name: str, when: str, value: str, clock: Callable[[str], int], source: str = "") -> list[Reading]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(clock(row[when]), Decimal(row[value])) for row in rows if not source or row["source"] == source]


def readings() -> dict[str, list[Reading]]:
    """Per site, every reading of its file in file order: GMT ms and exact value."""
    sites: dict[str, list[Reading]] = {}
    for site, name in {
        "twin-cities-travel-time-387": "nab_TravelTime_387.csv",
        "twin-cities-travel-time-451": "nab_TravelTime_451.csv",
        "twin-cities-speed-6005": "nab_speed_6005.csv",
        "twin-cities-occupancy-6005": "nab_occupancy_6005.csv",
    }.items():
        sites[site] = _read(name, "timestamp", "value", _chicago_summer)
    sites["italy-water-main"] = _read("river_water-flow.csv", "Time", "Water flow [l/s]", _with_offset)
    for site, label in {
        "fossil": "Fossil Fuels",
        "nuclear": "Nuclear Energy",
        "renewable": "Renewables",
    }.items():
        name = "vega_iowa-electricity.csv"
        sites[f"iowa-electricity-{site}"] = _read(name, "year", "net_generation", _first_of_year, label)
    for site, column in {
        "precipitation": "precipitation",
        "temperature-max": "temp_max",
        "temperature-min": "temp_min",
        "wind": "wind",
    }.items():
        sites[f"seattle-{site}"] = _read("vega_seattle-weather.csv", "date", column, _seattle_midnight)
    return sites


def digest(readings: list[Reading]) -> str:
    """SHA-256 over all readings in order, one ``time value`` line each, value without trailing zeros."""
    lines = "".join(f"{time_ms} {value.normalize():f}\n" for time_ms, value in readings)
    return hashlib.sha256(lines.encode()).hexdigest()


def vectors() -> dict[str, Any]:
    """Per site: count, exact sum, first and last reading, digest of all."""
    return {
        site: {
            "count": len(found),
            "sum": str(sum((value for _, value in found), Decimal(0)).normalize()),
            "first": [found[0][0], str(found[0][1])],
            "last": [found[-1][0], str(found[-1][1])],
            "sha256": digest(found),
        }
        for site, found in readings().items()
    }


def text() -> str:
    """The content of ``samples.json``."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("samples.json").write_text(text(), encoding="utf-8")
