"""Metrics of the HTTP API. Routes are templates, so that no site or code becomes a label."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter("bkdms_api_requests", "Requests answered.", ["route", "status"])
REQUEST_SECONDS: Final = Histogram(
    "bkdms_api_request_seconds",
    "Time to answer a request.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
VIEW_HEIGHT: Final = Gauge("bkdms_api_view_height", "Height of the last block in the API's view.")
VIEW_SKIPPED: Final = Counter(
    "bkdms_api_skipped_records", "Records of the blocks topic that are no block of the chain.", ["reason"]
)
VIEW_HALTED: Final = Gauge("bkdms_api_view_halted", "1 where the view stopped at contradicting data.")
ACCESS_REQUESTS: Final = Gauge(
    "bkdms_api_access_requests", "Access requests over HTTP that wait for the registrar."
)
