"""What all benchmarks share: figures with units, processor meters, results files, tables and drawings."""

from pipeline.apps.bench.report.cpu import Cpu
from pipeline.apps.bench.report.figure import Figure
from pipeline.apps.bench.report.plot import Series, bar_chart, line_chart
from pipeline.apps.bench.report.results import Result, append_result, read_results
from pipeline.apps.bench.report.table import table

__all__ = [
    "Cpu",
    "Figure",
    "Result",
    "Series",
    "append_result",
    "bar_chart",
    "line_chart",
    "read_results",
    "table",
]
