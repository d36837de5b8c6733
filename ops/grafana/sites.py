"""Dashboard *site availability*: which sites are heard, how late, with how much missing; and their agents' own view."""

from dataclasses import replace

from ops.grafana.board import Board, Part
from ops.grafana.city import PLACE
from ops.grafana.panels import (
    ANY_IS_BAD,
    RATE,
    SMALL,
    Bounds,
    Look,
    number,
    prom,
    rows,
    series,
    sql,
    sql_series,
)

_CITY = "country = ${country:sqlstring} AND city = ${city:sqlstring}"
_ADMITTED = f"$__timeFilter(admitted) AND {_CITY}"
_ASSESSED = f"$__timeFilter(window_start) AND {_CITY}"
_HOUR_S, _DAY_S = 3_600, 86_400
_WIDE = replace(SMALL, unit="none", width=6)

_NOW = Part(
    "Now",
    (
        number(
            "Sites enrolled",
            "Sites of the city that may send.",
            _WIDE,
            sql(f'SELECT count(*) AS "sites" FROM v_sites WHERE active AND {_CITY}'),
        ),
        number(
            "Sites heard",
            "Sites of which packets were admitted in the time shown.",
            _WIDE,
            sql(f'SELECT count(DISTINCT site_id) AS "sites" FROM v_kpi_records WHERE {_ADMITTED}'),
        ),
        number(
            "Sites silent",
            "Enrolled sites of which nothing was admitted in the time shown.",
            replace(_WIDE, bounds=ANY_IS_BAD),
            sql(
                f"""SELECT count(*) AS "sites" FROM v_sites AS s WHERE active AND {_CITY} AND NOT EXISTS (
                    SELECT 1 FROM v_kpi_records AS k
                    WHERE $__timeFilter(k.admitted) AND k.country = s.country AND k.city = s.city
                        AND k.site_id = s.site_id)"""
            ),
        ),
        number(
            "Packets without values",
            "Packets of the time shown whose content did not fit what was signed or granted, or that the platform has "
            "no key for.",
            replace(_WIDE, bounds=ANY_IS_BAD),
            sql(f"""SELECT count(*) AS "packets" FROM v_kpi_records WHERE {_ADMITTED} AND status <> 'ok'"""),
        ),
        rows(
            "Sites",
            "Every site of the city, the longest silent first, whatever time is shown. An inactive one may not send.",
            Look(unit="none", width=24, height=9),
            sql(
                """SELECT s.site_id AS "site", CASE WHEN s.active THEN 'active' ELSE 'inactive' END AS "state",
                    extract(epoch FROM now() - max(k.admitted)) AS "silent for", max(k.admitted) AS "last admitted",
                    max(k.collected_to) AS "last measured", count(k.tracing_code) AS "packets",
                    coalesce(sum(k.record_count), 0) AS "records",
                    count(*) FILTER (WHERE k.status <> 'ok') AS "without values"
                FROM v_sites AS s LEFT JOIN v_kpi_records AS k
                    ON k.country = s.country AND k.city = s.city AND k.site_id = s.site_id
                WHERE s.country = ${country:sqlstring} AND s.city = ${city:sqlstring}
                GROUP BY s.country, s.city, s.site_id, s.active ORDER BY s.active DESC, 3 DESC NULLS FIRST, 1"""
            ),
            fields=(("silent for", "unit", "s"),),
        ),
    ),
)

_STORED = Part(
    "What arrives",
    (
        series(
            "Packets by site",
            "Packets per interval, by the time of their admission.",
            Look(width=8, is_bars=True, is_stacked=True),
            sql_series(
                f"""SELECT $__timeGroupAlias(admitted, $__interval), site_id AS "metric", count(*) AS "value"
                FROM v_kpi_records WHERE {_ADMITTED} GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
        series(
            "Records by site",
            "Unified records per interval, by the time of their packet's admission.",
            Look(width=8, is_bars=True, is_stacked=True),
            sql_series(
                f"""SELECT $__timeGroupAlias(admitted, $__interval), site_id AS "metric", sum(record_count) AS "value"
                FROM v_kpi_records WHERE {_ADMITTED} GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
        series(
            "Measurement to admission",
            "Age of a packet's newest measurement when it was admitted: the greatest of each interval. Historical data "
            "is as old as it is.",
            Look(unit="s", width=8, is_points=True),
            sql_series(
                f"""SELECT $__timeGroupAlias(admitted, $__interval), site_id AS "metric",
                    max(extract(epoch FROM admitted - collected_to)) AS "value"
                FROM v_kpi_records WHERE {_ADMITTED} GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
        series(
            "Availability",
            "Share of a window in which a site was heard as the assessment plan expects it, by day of measurement. "
            "Pick a time in which there are measurements.",
            Look(
                unit="percent", width=8, highest=100, bounds=Bounds(95, 80, is_low_bad=True), is_points=True
            ),
            sql_series(
                f"""SELECT window_start AS "time", site_id AS "metric", avg(value) AS "value" FROM v_assessments
                WHERE {_ASSESSED} AND kind = 'availability' AND period = 'day' AND site_id <> ''
                GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
        series(
            "Completeness",
            "Share of the expected values that came, by site and day of measurement.",
            Look(
                unit="percent", width=8, highest=100, bounds=Bounds(95, 80, is_low_bad=True), is_points=True
            ),
            sql_series(
                f"""SELECT window_start AS "time", site_id AS "metric", avg(value) AS "value" FROM v_assessments
                WHERE {_ASSESSED} AND kind = 'completeness' AND period = 'day' AND site_id <> ''
                GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
        series(
            "Timeliness",
            "Share of the values that came within the lateness that the plan allows, by site and day of measurement.",
            Look(
                unit="percent", width=8, highest=100, bounds=Bounds(95, 80, is_low_bad=True), is_points=True
            ),
            sql_series(
                f"""SELECT window_start AS "time", site_id AS "metric", avg(value) AS "value" FROM v_assessments
                WHERE {_ASSESSED} AND kind = 'timeliness' AND period = 'day' AND site_id <> ''
                GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
    ),
)

_AGENTS = Part(
    "The sites' own agents, where Prometheus reaches them",
    (
        series(
            "Records waiting",
            "Records in the spool that are not yet verified as committed.",
            Look(width=8),
            prom("sum by (site) (bkdms_site_spool_records{})", "{{site}}"),
        ),
        series(
            "Age of the oldest",
            "Age of the oldest record that is not yet verified as committed.",
            Look(unit="s", width=8, bounds=Bounds(_HOUR_S, _DAY_S)),
            prom("max by (site) (bkdms_site_oldest_unconfirmed_seconds{})", "{{site}}"),
        ),
        series(
            "Spooling to commit, 95 %",
            "Within this time 19 of 20 packets were verified as committed, from their first record on.",
            Look(unit="s", width=8),
            prom(
                "histogram_quantile(0.95, sum by (le, site) "
                f"(rate(bkdms_site_commit_latency_seconds_bucket{{}}{RATE})))",
                "{{site}}",
            ),
        ),
        series(
            "Packets sent and confirmed",
            "Packets per second that sites sent for the first time, sent again, and verified as committed.",
            Look(unit="pps", width=8),
            prom(f"sum(rate(bkdms_site_sent_packets_total{{}}{RATE}))", "sent"),
            prom(f"sum(rate(bkdms_site_resent_packets_total{{}}{RATE}))", "sent again"),
            prom(f"sum(rate(bkdms_site_confirmed_packets_total{{}}{RATE}))", "confirmed"),
        ),
        series(
            "Fields refused",
            "Fields and rows of the source that did not become data, by site and reason.",
            Look(unit="cps", width=8),
            prom(
                f"sum by (site, reason) (rate(bkdms_site_rejected_fields_total{{}}{RATE})) > 0",
                "{{site}} {{reason}}",
            ),
        ),
        series(
            "Repeated attempts",
            "Attempts of agents that failed for now and are repeated, by site and reason.",
            Look(unit="cps", width=8),
            prom(f"sum by (site, code) (rate(bkdms_site_retries_total{{}}{RATE})) > 0", "{{site}} {{code}}"),
        ),
    ),
)

SITES = Board(
    uid="site-availability",
    title="bkdms: site availability",
    description="Which sites are heard, how late, with how much missing, and what their agents say of themselves.",
    parts=(_NOW, _STORED, _AGENTS),
    choices=PLACE,
    since="now-24h",
    refresh="1m",
    is_by_chain=True,
)
