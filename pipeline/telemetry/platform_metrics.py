"""Metrics of the platform worker. No indicator value, site or city is ever a label."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

PACKETS: Final = Counter(
    "bkdms_platform_packets", "Committed packets stored, by what became of them.", ["status", "reason"]
)
OBSERVATIONS: Final = Counter("bkdms_platform_observations", "Indicator values stored.")
PUBLISHED: Final = Counter(
    "bkdms_platform_published_packets", "Packets whose observations were sent to Kafka."
)
SKIPPED: Final = Counter(
    "bkdms_platform_skipped_records",
    "Records of the blocks topic that are no block of the chain.",
    ["reason"],
)
STORED_HEIGHT: Final = Gauge("bkdms_platform_stored_height", "Height of the last block stored.")
LAG: Final = Gauge("bkdms_platform_lag_records", "Records of the blocks topic not read yet.")
STORE_LATENCY: Final = Histogram(
    "bkdms_platform_admission_to_store_seconds",
    "Time from a packet's admission (broker time) to its row being stored.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 3600),
)
