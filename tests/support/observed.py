"""Observation messages as the platform sends them, with made-up values."""

from typing import Any

from pipeline.core.storage import observations_value
from pipeline.core.tracing import TracingCode

CHAIN = bytes(range(5))
TIME_MS = 1_441_063_320_000
CITY = "unlocode:USMES"
INDICATOR = "LOCAL:TRAFFIC_SPEED"


def packet(height: int, entry: int = 0, **changes: Any) -> dict[str, Any]:
    """The fields of the packet at a place of the chain."""
    return {
        "chain_id": "https://bkdms.local/city1",
        "tracing_code": str(TracingCode(CHAIN, height, entry)),
        "height": height,
        "admitted": TIME_MS + 1000 * height,
        "country": "US",
        "city": CITY,
        "site_id": "fd00::1",
        "module_id": "m",
        "sequence": height,
    } | changes


def observation(value: float, **changes: Any) -> dict[str, Any]:
    """One value; another ``time`` or ``record`` by name."""
    return {
        "record": 0,
        "time": TIME_MS,
        "indicator": INDICATOR,
        "data_point": "",
        "value": value,
        "exact": f"{value:g}",
        "unit": "HM",
        "sensor": "speed_6005",
        "quality": 4,
        "source": "MnDOT",
    } | changes


def observed(height: int, *values: float, entry: int = 0, time_ms: int = TIME_MS, **changes: Any) -> bytes:
    """The framed message of one packet, a record for each value."""
    rows = [observation(value, record=index, time=time_ms) for index, value in enumerate(values)]
    return observations_value(packet(height, entry, **changes), rows)


def observed_values(count: int) -> list[bytes]:
    """Messages of as many packets, values 1, 2, 3 …, one each."""
    return [observed(height, float(height)) for height in range(1, count + 1)]
