"""The demonstration's look at analysis: some assessments, each held against plain arithmetic on the CSV file.

That arithmetic knows nothing of the pipeline: no catalogue, no plan, no record, no code of the analysis.
"""

import csv
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from connectors.samples import sample_folder
from ops.tls.principal import Role
from pipeline.adapters.kafka import KafkaConnection, KafkaPartitionReader
from pipeline.adapters.tls import TlsFiles, client_context
from pipeline.apps.local.deployment import LocalDeployment
from pipeline.core.assess.document import document
from pipeline.core.assess.message import parse_assessment
from pipeline.core.assess.query import ORDER
from pipeline.core.topics import Topics

_PEAK_HOURS: Final = (7, 8, 16, 17)
_SATURDAY: Final = 5
_TOLERANCE: Final = 1e-8
_FORBIDDEN: Final = 403
_CODES_SHOWN: Final = 3
_FETCH: Final = 500
_WAIT_MS: Final = 500


@dataclass(frozen=True, slots=True)
class Check:
    """An assessment that is expected: what it is called, how it is asked for, and its value from the file."""

    name: str
    asked: dict[str, str]
    formula: str
    from_file: Callable[[Path], float]


def _travel_time_index(file: str, folder: Path) -> float:
    """Mean of weekdays 7 to 9 and 16 to 18 o'clock, over the 15th percentile of all."""
    rows = [(datetime.fromisoformat(row["timestamp"]), float(row["value"])) for row in _rows(folder / file)]
    peak = [value for time, value in rows if time.weekday() < _SATURDAY and time.hour in _PEAK_HOURS]
    ordered = sorted(value for _, value in rows)
    place = 0.15 * (len(ordered) - 1)
    low = int(place)
    free = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
    return sum(peak) / len(peak) / free


def _renewable_share(year: str, folder: Path) -> float:
    rows = [row for row in _rows(folder / "vega_iowa-electricity.csv") if row["year"].startswith(year)]
    total = sum(float(row["net_generation"]) for row in rows)
    return 100 * sum(float(row["net_generation"]) for row in rows if row["source"] == "Renewables") / total


def _mean_flow(folder: Path) -> float:
    texts = [row["Water flow [l/s]"] for row in _rows(folder / "river_water-flow.csv")]
    values = [float(text) for text in texts if text]
    return sum(values) / len(values)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


CHECKS: Final = (
    Check(
        "travel-time index of road section 387, 2015",
        {"site": "fd62:6b64:6d73:1::387", "window": "year", "kind": "value"},
        "travel_time_index",
        partial(_travel_time_index, "nab_TravelTime_387.csv"),
    ),
    Check(
        "travel-time index of road section 451, 2015",
        {"site": "fd62:6b64:6d73:1::451", "window": "year", "kind": "value"},
        "travel_time_index",
        partial(_travel_time_index, "nab_TravelTime_451.csv"),
    ),
    Check(
        "renewable share of Iowa's electricity, 2001, per cent",
        {"indicator": "LOCAL:RENEWABLE_SHARE", "kind": "value", "to": "2002-01-01"},
        "share",
        partial(_renewable_share, "2001"),
    ),
    Check(
        "renewable share of Iowa's electricity, 2017, per cent",
        {"indicator": "LOCAL:RENEWABLE_SHARE", "kind": "value", "from": "2017-01-01"},
        "share",
        partial(_renewable_share, "2017"),
    ),
    Check(
        "mean flow of the water main, 2022, litres a second",
        {"indicator": "LOCAL:WATER_FLOW", "window": "year", "kind": "value"},
        "mean",
        _mean_flow,
    ),
)


async def look_at_assessments(deployment: LocalDeployment, refused: TlsFiles) -> dict[str, Any]:
    """Ask the API as an analyst, hold figures against the files, and all figures against the topic.

    ``refused`` is a certificate that must not see any.
    """
    files = deployment.stack.credentials(Role.ANALYST, "demo")
    analyst = TlsFiles(files.ca, files.certificate, files.key)
    url = f"{deployment.api_url}/v1/assessments"
    async with httpx.AsyncClient(verify=client_context(analyst)) as client:
        figures = {check.name: await _figure(client, url, check) for check in CHECKS}
        served = [item async for item in _pages(client, url)]
    async with httpx.AsyncClient(verify=client_context(refused)) as client:
        status = (await client.get(url)).status_code
    topics = Topics(deployment.plan.chain.topic_prefix)
    connection = KafkaConnection(deployment.stack.kafka_bootstrap, analyst, "demo")
    heard = await _last_messages(KafkaPartitionReader(connection, topics.assessments, 0))
    return {
        "stored": len(served),
        "with_finding": sum(bool(item["finding"]) for item in served),
        "figures": figures,
        "agree_with_files": all(figure["agrees"] for figure in figures.values()),
        "agree_with_topic": sorted(heard, key=_key) == sorted(served, key=_key),
        "site_is_refused": status == _FORBIDDEN,
    }


async def _figure(client: httpx.AsyncClient, url: str, check: Check) -> dict[str, Any]:
    answer = await client.get(url, params=check.asked)
    found = [item for item in answer.json()["assessments"] if item["formula"] == check.formula]
    expected = check.from_file(sample_folder())
    if len(found) != 1:
        return {"value": None, "from_file": expected, "agrees": False}
    (item,) = found
    return {
        "value": item["exact"],
        "from_file": expected,
        "agrees": abs(item["value"] - expected) < _TOLERANCE,
        "quality": item["quality"],
        "tracing_count": item["tracing_count"],
        "tracing_digest": item["tracing_digest"],
        "tracing_codes": item["tracing_codes"][:_CODES_SHOWN],
    }


async def _pages(client: httpx.AsyncClient, url: str) -> AsyncIterator[dict[str, Any]]:
    asked: dict[str, Any] = {"limit": 1000}
    while True:
        page = (await client.get(url, params=asked)).json()
        for item in page["assessments"]:
            yield item
        if "next" not in page:
            return
        asked["after"] = page["next"]


def _key(item: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(item[name] for name in (*ORDER, "window"))


async def _last_messages(reader: KafkaPartitionReader) -> list[dict[str, Any]]:
    """Return what a consumer of the topic knows at its end: the last message of each key."""
    known: dict[bytes | None, dict[str, Any]] = {}
    try:
        position, end = await reader.bounds()
        await reader.seek(position)
        while position < end:
            for record in await reader.fetch(_FETCH, _WAIT_MS):
                position = record.offset + 1
                found = parse_assessment(record.value) if record.value else None
                known.pop(record.key, None)
                if found is not None:
                    known[record.key] = document(found)
    finally:
        await reader.close()
    return list(known.values())
