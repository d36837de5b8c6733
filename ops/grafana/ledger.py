"""Dashboard *ledger*: how the chain grows, what is in it, who vouches for it outside."""

from dataclasses import replace

from ops.grafana.board import Board, Part
from ops.grafana.panels import (
    ANY_IS_BAD,
    RATE,
    SMALL,
    Look,
    bars,
    number,
    prom,
    rows,
    series,
    sql,
    sql_series,
)

_NOW = Part(
    "Now",
    (
        number(
            "Height",
            "Height of the last block stored.",
            replace(SMALL, unit="none"),
            sql('SELECT max(height) AS "height" FROM v_blocks'),
        ),
        number(
            "Leaves",
            "Size of the chain's Merkle tree: packets, control records and headers.",
            replace(SMALL, unit="none"),
            sql('SELECT max(tree_size) AS "leaves" FROM v_blocks'),
        ),
        number(
            "Bytes of blocks",
            "Sum of the encoded blocks stored: what the blocks topic keeps for ever, without its certificates.",
            replace(SMALL, unit="bytes"),
            sql('SELECT coalesce(sum(block_length), 0) AS "bytes" FROM v_blocks'),
        ),
        number(
            "Exported leaves",
            "Leaves under the checkpoint that was exported last; no data where no exporter runs.",
            replace(SMALL, unit="none"),
            prom("max(bkdms_export_tree_size{})"),
        ),
        number(
            "Leaves awaiting witnesses",
            "Leaves that are certified and not published, because the policy's outside witnesses have not cosigned.",
            replace(SMALL, unit="none", bounds=ANY_IS_BAD),
            prom("max(bkdms_export_unpublished_leaves{}) or vector(0)"),
        ),
        number(
            "Packets without values",
            "Packets in the time shown whose content did not fit what was signed, or that the platform has no key for.",
            replace(SMALL, unit="none", bounds=ANY_IS_BAD),
            sql(
                """SELECT count(*) AS "packets" FROM v_kpi_records
                WHERE $__timeFilter(admitted) AND status <> 'ok'"""
            ),
        ),
    ),
)

_GROWTH = Part(
    "Growth",
    (
        series(
            "Blocks and entries",
            "Blocks per interval and the entries in them, by the period of the block.",
            Look(width=8, is_bars=True),
            sql_series(
                """SELECT $__timeGroupAlias(period_start, $__interval),
                    count(*) AS "blocks", sum(entries) AS "entries"
                FROM v_blocks WHERE $__timeFilter(period_start) GROUP BY 1 ORDER BY 1"""
            ),
        ),
        series(
            "Time between blocks",
            "From one block's period to the next. Empty periods make no block, so a long time may just mean that "
            "nothing was sent.",
            Look(unit="s", width=8, is_points=True, lowest=None),
            sql_series(
                """SELECT period_start AS "time",
                    extract(epoch FROM period_start - lag(period_start) OVER (ORDER BY height)) AS "seconds"
                FROM v_blocks WHERE $__timeFilter(period_start) ORDER BY 1"""
            ),
        ),
        series(
            "Bytes of blocks written",
            "Encoded blocks per interval.",
            Look(unit="bytes", width=8, is_bars=True),
            sql_series(
                """SELECT $__timeGroupAlias(period_start, $__interval), sum(block_length) AS "bytes"
                FROM v_blocks WHERE $__timeFilter(period_start) GROUP BY 1 ORDER BY 1"""
            ),
        ),
        series(
            "Tree by node",
            "Leaves after the last block each node committed, and after the last one exported. All lines meet when "
            "nothing waits.",
            Look(unit="none", width=8, lowest=None),
            prom("bkdms_node_tree_size_leaves{} > 0", "{{instance}}"),
            prom("bkdms_export_tree_size{} > 0", "exported"),
        ),
        series(
            "Answers of outside witnesses",
            "Answers per second by witness. Every outcome but cosigned means asking again; fork stops the exporter.",
            Look(unit="cps", width=8),
            prom(
                f"sum by (witness, outcome) (rate(bkdms_export_witness_answers_total{{}}{RATE}))",
                "{{witness}} {{outcome}}",
            ),
        ),
        series(
            "Exports written again",
            "Times that exported files and the exporter's state did not fit, so that all was written again.",
            Look(unit="none", width=8),
            prom("sum(bkdms_export_rebuilds_total{})", "since it started"),
        ),
    ),
)

_CONTENT = Part(
    "Content",
    (
        series(
            "Packets by city",
            "Packets per interval, by the time of their admission.",
            Look(width=8, is_bars=True, is_stacked=True),
            sql_series(
                """SELECT $__timeGroupAlias(admitted, $__interval), city AS "metric", count(*) AS "value"
                FROM v_kpi_records WHERE $__timeFilter(admitted) GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
        bars(
            "Packets by site",
            "Packets admitted in the time shown.",
            Look(width=8),
            sql(
                """SELECT site_id AS "site", count(*) AS "packets"
                FROM v_kpi_records WHERE $__timeFilter(admitted) GROUP BY 1 ORDER BY 2 DESC LIMIT 20"""
            ),
        ),
        rows(
            "What became of packets",
            "Packets of the time shown by status. Those that are not ok are in the ledger with every proof, and "
            "without values in the store.",
            Look(width=8),
            sql(
                """SELECT status, reason, count(*) AS "packets", sum(record_count) AS "records"
                FROM v_kpi_records WHERE $__timeFilter(admitted) GROUP BY 1, 2 ORDER BY 3 DESC"""
            ),
        ),
        rows(
            "Last blocks",
            "The last 50 blocks of the time shown; `bkdms verify` checks all of them.",
            Look(unit="none", width=12, height=10),
            sql(
                """SELECT height, part, period_start, entries, tree_size, block_length AS "bytes", hash
                FROM v_blocks WHERE $__timeFilter(period_start) ORDER BY height DESC LIMIT 50"""
            ),
            fields=(("bytes", "unit", "bytes"),),
        ),
        rows(
            "Last packets",
            "The last 50 packets of the time shown; `bkdms trace CODE` tells where one came from, `bkdms prove CODE` "
            "proves it to others.",
            Look(unit="none", width=12, height=10),
            sql(
                """SELECT admitted, city, site_id AS "site", sequence, record_count AS "records",
                    data_length AS "bytes", status, tracing_code
                FROM v_kpi_records WHERE $__timeFilter(admitted) ORDER BY admitted DESC, tracing_code LIMIT 50"""
            ),
            fields=(("bytes", "unit", "bytes"),),
        ),
    ),
)

LEDGER = Board(
    uid="ledger",
    title="bkdms: ledger",
    description="How the chain grows, what is in it, and who vouches for it outside.",
    parts=(_NOW, _GROWTH, _CONTENT),
    since="now-6h",
    refresh="30s",
    is_by_chain=True,
)
