"""Prometheus metrics that several programs share; what one kind of program alone counts is in ``…_metrics``.

No label has an unbounded number of values: outcomes, codes, topics and partitions, never sites. Values of
indicators never appear. Units are in the names; what each metric means is in docs/operations.md. A counter whose
first increment must be noticed is shown at zero before (``show_zeros``): Prometheus sees no increase in a series
that appears with 1.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge

BUILD_INFO = Gauge(
    "bkdms_build_info",
    "1; the labels say which program of which release runs, and the newest rules that it knows",
    ["program", "version", "rules_version"],
)
DISK_FREE = Gauge(
    "bkdms_disk_free_bytes", "Room that is left to us on the file system of a folder", ["folder"]
)
DISK_SIZE = Gauge("bkdms_disk_size_bytes", "Size of the file system of a folder", ["folder"])
CERTIFICATE_EXPIRY = Gauge(
    "bkdms_certificate_expiry_timestamp_seconds",
    "When a certificate that is in use runs out, in seconds since 1970",
    ["use"],
)
CERTIFICATE_RELOADS = Counter(
    "bkdms_certificate_reloads",
    "Times that renewed certificate files were found, and whether they were taken",
    ["outcome"],
)
UNEXPECTED_SOCKETS = Gauge(
    "bkdms_unexpected_sockets",
    "Addresses that the program listens on and that the table of access does not give it",
)
INSECURE_SETTINGS = Gauge(
    "bkdms_insecure_settings", "1 for each setting that says insecure and is on", ["setting"]
)
CONSUMER_LAG = Gauge(
    "bkdms_consumer_lag_records", "End offset minus committed offset", ["topic", "partition"]
)
CONSUMER_EXPIRED = Counter(
    "bkdms_consumer_expired_records", "Records that retention removed before they were read", ["topic"]
)
CONSUMER_REBALANCES = Counter(
    "bkdms_consumer_rebalances", "Times that a consumer group took partitions from us", ["topic"]
)
SEND_FAILURES = Counter(
    "bkdms_kafka_send_failures", "Batches of which not every record was acknowledged by Kafka"
)
WORKER_RETRIES = Counter("bkdms_worker_retries", "Steps that failed for now and are repeated", ["code"])
WORKER_READY = Gauge("bkdms_worker_ready", "1 while the program does its work, 0 while it starts or waits")


def show_zeros(counter: Counter, values: Iterable[tuple[str, ...]]) -> None:
    """Make the series of these label values appear, at zero if nothing was counted yet."""
    for labels in values:
        counter.labels(*labels)
