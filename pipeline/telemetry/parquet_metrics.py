"""Metrics of the Parquet sink."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

ROWS: Final = Counter("bkdms_parquet_rows", "Values written to committed Parquet files.")
FILES: Final = Counter("bkdms_parquet_files", "Parquet files committed.")
BYTES: Final = Counter("bkdms_parquet_written_bytes", "Bytes of Parquet files committed.")
REPEATED: Final = Counter(
    "bkdms_parquet_repeated_packets", "Packets that came again and were in the files already."
)
BAD: Final = Counter(
    "bkdms_parquet_bad_records", "Records of the observations topic that are no observations."
)
EXPIRED: Final = Counter(
    "bkdms_parquet_expired_records",
    "Records that retention removed before they were read; they are in the store.",
)
REPLAYS: Final = Counter(
    "bkdms_parquet_replays",
    "Times that the topic was not the one of the position and was read from its beginning.",
)
LAG: Final = Gauge(
    "bkdms_parquet_lag_records", "Records of the observations topic that no commit covers yet."
)
COMMIT_SECONDS: Final = Histogram(
    "bkdms_parquet_commit_seconds",
    "Time to write and commit files.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
