"""Metrics of the assessment worker. No indicator value, site, city or indicator is ever a label."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

EVENTS: Final = Counter(
    "bkdms_assess_events",
    "Messages of the observations topic heard: new, repeated, bad or overdue.",
    ["outcome"],
)
HEIGHT: Final = Gauge("bkdms_assess_height", "Height up to which the store is assessed.")
LAG: Final = Gauge("bkdms_assess_lag_blocks", "Blocks in the store that are not assessed yet.")
PENDING: Final = Gauge("bkdms_assess_pending_cells", "Cells (a city in a window) that wait to be assessed.")
CELLS: Final = Counter("bkdms_assess_cells", "Cells (a city in a window) assessed.")
VALUES: Final = Counter("bkdms_assess_values", "Indicator values read to assess cells.")
FIGURES: Final = Counter(
    "bkdms_assess_figures",
    "Assessments found, by what became of those stored: new, changed, unchanged, gone.",
    ["change"],
)
SENT: Final = Counter("bkdms_assess_sent", "Changes of assessments sent to Kafka.")
CELL_SECONDS: Final = Histogram(
    "bkdms_assess_cell_seconds",
    "Time to read and assess one cell.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300),
)
