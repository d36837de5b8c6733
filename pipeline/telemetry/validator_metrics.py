"""Metrics of the validator. Labels are bounded: outcomes, never sites."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

OUTCOMES: Final = Counter(
    "bkdms_validator_outcomes", "Records of the packets topic by their fate", ["outcome"]
)
BATCH_SECONDS: Final = Histogram(
    "bkdms_validator_batch_seconds",
    "Time from fetching a batch to the commit of its offsets",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
DELAYS: Final = Counter("bkdms_validator_delays", "Times that a partition was held for one site's rate")
ABANDONED: Final = Counter(
    "bkdms_validator_abandoned_batches", "Batches left to whoever holds their partitions now"
)
KNOWN_SITES: Final = Gauge("bkdms_validator_known_sites", "Sites in the view of the registrations")
REGISTRATIONS: Final = Counter(
    "bkdms_registrations", "Records of the sites topic by what was made of them", ["outcome"]
)
SUITE_EXPIRY: Final = Gauge(
    "bkdms_suite_expiry_timestamp_seconds",
    "When the contract ends a cipher suite, in seconds since 1970; no series for one without an end",
    ["suite"],
)
ADMISSION_SECONDS: Final = Histogram(
    "bkdms_admission_latency_seconds",
    "Time from the broker time of a packet to its being on the chain log",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)
