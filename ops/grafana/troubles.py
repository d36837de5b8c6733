"""The lower half of dashboard *operations*: what fails for now, what was repaired, and what the machine gives."""

from dataclasses import replace

from ops.grafana.board import Part
from ops.grafana.panels import ANY_IS_BAD, RATE, SMALL, Bounds, Look, number, prom, series

TROUBLE = Part(
    "Trouble",
    (
        series(
            "Repeated steps",
            "Steps per second that failed for now and are repeated, by program and reason. The reasons are listed in "
            "docs/operations.md, Alarms.",
            Look(unit="cps", width=8),
            prom(
                f"sum by (instance, code) (rate(bkdms_worker_retries_total{{}}{RATE})) > 0",
                "{{instance}} {{code}}",
            ),
            prom(
                f"sum by (instance, code) (rate(bkdms_node_retries_total{{}}{RATE})) > 0",
                "{{instance}} {{code}}",
            ),
        ),
        series(
            "Batches not acknowledged, rebalances",
            "Batches that Kafka did not acknowledge wholly, times that partitions moved to another validator, and "
            "batches left to whoever has their partitions now. Short peaks follow restarts.",
            Look(unit="cps", width=8),
            prom(f"sum(rate(bkdms_kafka_send_failures_total{{}}{RATE}))", "not acknowledged"),
            prom(f"sum(rate(bkdms_consumer_rebalances_total{{}}{RATE}))", "rebalances"),
            prom(f"sum(rate(bkdms_validator_abandoned_batches_total{{}}{RATE}))", "abandoned"),
        ),
        series(
            "API answers",
            "Requests per second by status. 4xx: clients' mistakes; 5xx: ours.",
            Look(unit="reqps", width=8, is_stacked=True),
            prom(f"sum by (status) (rate(bkdms_api_requests_total{{}}{RATE}))", "{{status}}"),
        ),
        number(
            "Ledger repairs",
            "Times that nodes put back what Redis had lost, since they started. Redis was emptied, rolled back, or "
            "written to by somebody else.",
            replace(SMALL, unit="none", bounds=ANY_IS_BAD),
            prom("sum(bkdms_ledger_repairs_total{}) or vector(0)"),
        ),
        number(
            "Forged blocks",
            "Records of the blocks topic, seen by any node, that are not the certified block of their height: "
            "see who may write there.",
            replace(SMALL, unit="none", bounds=ANY_IS_BAD),
            prom("max(bkdms_node_forged_blocks_total{}) or vector(0)"),
        ),
        number(
            "Skipped records",
            "Records of the blocks topic that platform, API or exporter passed over, since they started.",
            replace(SMALL, unit="none", bounds=ANY_IS_BAD),
            prom(
                'sum({__name__=~"bkdms_(platform|api|export)_skipped_records_total"}) or vector(0)',
            ),
        ),
        number(
            "Lost to retention",
            "Records that Kafka's retention removed before a validator read them; sites send them again.",
            replace(SMALL, unit="none", bounds=ANY_IS_BAD),
            prom("sum(bkdms_consumer_expired_records_total{}) or vector(0)"),
        ),
        number(
            "API halted",
            "1: the API's view stopped at contradicting data; it serves what it verified before.",
            replace(SMALL, unit="none", bounds=ANY_IS_BAD),
            prom("max(bkdms_api_view_halted{})"),
        ),
        number(
            "Sites held back",
            "Times that a partition was held because a site sent faster than its rate, in the time shown.",
            replace(SMALL, unit="none", decimals=0),
            prom("round(sum(increase(bkdms_validator_delays_total{}[$__range]))) or vector(0)"),
        ),
    ),
)

ANALYSIS = Part(
    "Analysis",
    (
        series(
            "Not yet assessed",
            "Blocks in the store that analysis has not dealt with, and cells (a city in a window) that wait.",
            Look(width=8),
            prom("max(bkdms_assess_lag_blocks{})", "blocks"),
            prom("max(bkdms_assess_pending_cells{})", "cells"),
        ),
        series(
            "Assessments by change",
            "Figures per second that analysis computed, by what that changed. Mostly unchanged means that it computes "
            "the same again.",
            Look(unit="cps", width=8, is_stacked=True),
            prom(f"sum by (change) (rate(bkdms_assess_figures_total{{}}{RATE}))", "{{change}}"),
        ),
        series(
            "Time to assess a cell",
            "Time to read and assess one city in one window.",
            Look(unit="s", width=8),
            prom(
                f"histogram_quantile(0.5, sum by (le) (rate(bkdms_assess_cell_seconds_bucket{{}}{RATE})))",
                "half",
            ),
            prom(
                f"histogram_quantile(0.95, sum by (le) (rate(bkdms_assess_cell_seconds_bucket{{}}{RATE})))",
                "95 %",
            ),
        ),
    ),
)

RESOURCES = Part(
    "Resources",
    (
        series(
            "Memory",
            "Resident memory of each program of ours.",
            Look(unit="bytes", width=6),
            prom("process_resident_memory_bytes{}", "{{instance}}"),
        ),
        series(
            "Processor",
            "Processor time of each program; 100 % is one core.",
            Look(unit="percentunit", width=6),
            prom(f"rate(process_cpu_seconds_total{{}}{RATE})", "{{instance}}"),
        ),
        series(
            "Open files",
            "Files and sockets that each program has open.",
            Look(width=6),
            prom("process_open_fds{}", "{{instance}}"),
        ),
        series(
            "Starts",
            "When each program was started: a step is a restart, and many steps a part that keeps dying.",
            Look(unit="dateTimeAsIso", width=6, lowest=None),
            prom("process_start_time_seconds{} * 1000", "{{instance}}"),
        ),
        series(
            "Disk left",
            "Share of the file system that is free, by program and folder.",
            Look(unit="percentunit", width=8, highest=1, bounds=Bounds(0.2, 0.1, is_low_bad=True)),
            prom("bkdms_disk_free_bytes{} / bkdms_disk_size_bytes{}", "{{instance}} {{folder}}"),
        ),
        series(
            "Certificates last",
            "Time until each certificate that a program uses expires.",
            Look(unit="s", width=8, bounds=Bounds(30 * 86_400, 7 * 86_400, is_low_bad=True), lowest=None),
            prom("bkdms_certificate_expiry_timestamp_seconds{} - time()", "{{instance}} {{use}}"),
        ),
        series(
            "Releases",
            "Programs by release and by the newest rules that it knows. More than one line: an upgrade is under way.",
            Look(width=8),
            prom(
                "count by (version, rules_version) (bkdms_build_info{})",
                "{{version}}, rules {{rules_version}}",
            ),
        ),
    ),
)
