"""An assessment plan for the bundled travel times that gives every kind of figure."""

from typing import Any, Final

PLACE: Final = ("US", "unlocode:USMES")
PLAN: Final[dict[str, Any]] = {
    "cities": [
        {
            "country": PLACE[0],
            "city": PLACE[1],
            "zone": "America/Chicago",
            "windows": ["day", "month", "year"],
            "scored": "year",
            "report": ["EC: I: T: 5A", "EN: E: E: 1C"],
            "limits": {"completeness": "95", "plausibility": "99"},
            "series": [
                {
                    "indicator": "LOCAL:TRAVEL_TIME",
                    "interval": "5m",
                    "lateness": "1h",
                    "low": "0",
                    "high": "600",
                    "values": ["mean", "median", "travel_time_index"],
                }
            ],
            "figures": [
                {
                    "indicator": "EC: I: T: 5A",
                    "formula": "mean_of_sites",
                    "source": "LOCAL:TRAVEL_TIME",
                    "value": "travel_time_index",
                }
            ],
            "targets": [{"indicator": "EC: I: T: 5A", "start": "5", "target": "1.3"}],
        }
    ]
}
