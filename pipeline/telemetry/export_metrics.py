"""Metrics of the exporter."""

from typing import Final

from prometheus_client import Counter, Gauge

SIZE: Final = Gauge("bkdms_export_tree_size", "Leaves under the checkpoint that was exported last.")
LAG: Final = Gauge("bkdms_export_lag_records", "Records of the blocks topic not read yet.")
SKIPPED: Final = Counter(
    "bkdms_export_skipped_records",
    "Records of the blocks topic that are no block of the chain.",
    ["reason"],
)
REBUILDS: Final = Counter(
    "bkdms_export_rebuilds", "Times that files and state did not fit and all was written again."
)
UNPUBLISHED: Final = Gauge(
    "bkdms_export_unpublished_leaves",
    "Leaves of certified blocks that await the policy's quorum of witnesses.",
)
WITNESS_ANSWERS: Final = Counter(
    "bkdms_export_witness_answers", "Answers of outside witnesses to add-checkpoint.", ["witness", "outcome"]
)
