"""Dashboard *city indicators*: the values themselves and what analysis makes of them, from the store alone.

Prometheus never carries an indicator's value, so every panel here asks the platform's store, as a reader.
"""

from ops.grafana.board import Board, Choice, Part
from ops.grafana.panels import Bounds, Look, bars, rows, series, sql, sql_series

_CITY = "country = ${country:sqlstring} AND city = ${city:sqlstring}"
_HERE = f"{_CITY} AND site_id IN (${{site:sqlstring}}) AND indicator = ${{indicator:sqlstring}}"
_WHEN = "$__timeFilter(observed_at)"
_ASSESSED = f"{_CITY} AND $__timeFilter(window_start)"
# A year's score is wanted when a week of it is shown.
_OVERLAPPING = f"{_CITY} AND window_start <= $__timeTo() AND window_end > $__timeFrom()"
_QUALITY = """CASE quality WHEN 1 THEN 'accurate measurement' WHEN 2 THEN 'survey, extrapolated'
    WHEN 3 THEN 'higher level, extrapolated' WHEN 4 THEN 'assumption or estimate'
    WHEN 5 THEN 'personal estimate' WHEN 6 THEN 'not traceable' ELSE 'not stated' END"""
_SERIES = "concat_ws(' ', site_id, nullif(sensor, ''), nullif(data_point, ''), unit)"
_LINK = {
    "title": "Show the time of its measurements",
    "url": "/d/bkdms-city-indicators?${country:queryparam}&${city:queryparam}"
    "&from=${__data.fields.from_ms}&to=${__data.fields.to_ms}",
}

PLACE = (
    Choice("country", "Country", "SELECT DISTINCT country FROM v_sites ORDER BY 1"),
    Choice(
        "city", "City", "SELECT DISTINCT city FROM v_sites WHERE country = ${country:sqlstring} ORDER BY 1"
    ),
)
CHOICES = (
    *PLACE,
    Choice(
        "indicator",
        "Indicator",
        f"SELECT DISTINCT json_array_elements_text(indicators::json) FROM v_sites WHERE {_CITY} ORDER BY 1",
    ),
    Choice(
        "site",
        "Site",
        f"""SELECT site_id FROM v_sites WHERE {_CITY}
        UNION SELECT json_array_elements_text(equipment::json) FROM v_sites WHERE {_CITY} ORDER BY 1""",
        is_several=True,
    ),
)

_VALUES = Part(
    "Values",
    (
        series(
            "Values",
            "Mean of each interval, by site, sensor and data point. Zoom in until an interval holds one value to see "
            "the values themselves.",
            Look(width=16, height=10, lowest=None, is_points=True),
            sql_series(
                f"""SELECT $__timeGroupAlias(observed_at, $__interval), {_SERIES} AS "metric", avg(value) AS "value"
                FROM v_observations WHERE {_WHEN} AND {_HERE} GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
        rows(
            "Where there is something to see",
            "Each site's first and last measurement, whatever time is shown; the link shows that time.",
            Look(unit="none", width=8, height=10),
            sql(
                f"""SELECT site_id AS "site", min(collected_from) AS "first", max(collected_to) AS "last",
                    sum(record_count) AS "records",
                    round(extract(epoch FROM min(collected_from)) * 1000) AS "from_ms",
                    round(extract(epoch FROM max(collected_to)) * 1000) AS "to_ms"
                FROM v_kpi_records WHERE {_CITY} GROUP BY 1 ORDER BY 1"""
            ),
            fields=(
                ("site", "links", [_LINK]),
                ("from_ms", "custom.hidden", True),
                ("to_ms", "custom.hidden", True),
            ),
        ),
        rows(
            "Summary",
            "The values of the time shown, by series.",
            Look(unit="none", width=16),
            sql(
                f"""SELECT site_id AS "site", sensor, data_point, unit, count(*) AS "values", min(value) AS "least",
                    percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS "median", max(value) AS "greatest"
                FROM v_observations WHERE {_WHEN} AND {_HERE}
                GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3"""
            ),
        ),
        bars(
            "How the values were got",
            "Values of the time shown by the data-quality code that the site states.",
            Look(width=8),
            sql(
                f"""SELECT {_QUALITY} AS "quality", count(*) AS "values"
                FROM v_observations WHERE {_WHEN} AND {_HERE} GROUP BY 1 ORDER BY 2 DESC"""
            ),
        ),
        rows(
            "Last values",
            "The last 100 values of the time shown, exact, each with the tracing code that leads to the signed packet: "
            "`bkdms trace CODE`.",
            Look(unit="none", width=24),
            sql(
                f"""SELECT observed_at, site_id AS "site", sensor, data_point, exact, unit, {_QUALITY} AS "quality",
                    tracing_code
                FROM v_observations WHERE {_WHEN} AND {_HERE}
                ORDER BY observed_at DESC, tracing_code, record, number LIMIT 100"""
            ),
        ),
    ),
)

_ANALYSIS = Part(
    "Analysis",
    (
        series(
            "Figures",
            "What analysis makes of the indicator, by formula and length of window; formulas are in docs/analysis.md.",
            Look(width=12, lowest=None, is_points=True),
            sql_series(
                f"""SELECT window_start AS "time",
                    concat_ws(' ', formula, period, nullif(site_id, ''), nullif(data_point, ''), unit) AS "metric",
                    value
                FROM v_assessments
                WHERE {_ASSESSED} AND indicator = ${{indicator:sqlstring}} AND kind = 'value' ORDER BY 1, 2"""
            ),
        ),
        series(
            "Quality of the data",
            "Completeness, timeliness, validity, plausibility and traceability of the indicator by day.",
            Look(unit="percent", width=12, highest=100, is_points=True),
            sql_series(
                f"""SELECT window_start AS "time", kind AS "metric", avg(value) AS "value"
                FROM v_assessments
                WHERE {_ASSESSED} AND indicator = ${{indicator:sqlstring}} AND period = 'day' AND unit = 'P1'
                    AND kind IN ('completeness', 'timeliness', 'validity', 'plausibility', 'traceability')
                GROUP BY 1, 2 ORDER BY 1, 2"""
            ),
        ),
        bars(
            "Scores",
            "Points of the maximum, of each dimension, sub-dimension and category for which the city set targets; the "
            "last window that the time shown has a part of.",
            Look(unit="percent", width=12, highest=100, bounds=Bounds(66, 33, is_low_bad=True)),
            sql(
                f"""SELECT DISTINCT ON (indicator) indicator AS "group", value AS "score" FROM v_assessments
                WHERE {_OVERLAPPING} AND kind = 'score' ORDER BY indicator, window_end DESC"""
            ),
        ),
        bars(
            "Share of target reached",
            "Where each indicator stands between its start and its target; the last window that the time shown has "
            "a part of.",
            Look(unit="percent", width=12, highest=100, bounds=Bounds(66, 33, is_low_bad=True)),
            sql(
                f"""SELECT DISTINCT ON (indicator) indicator, value AS "share" FROM v_assessments
                WHERE {_OVERLAPPING} AND kind = 'target' ORDER BY indicator, window_end DESC"""
            ),
        ),
        rows(
            "What deserves a look",
            "Findings of analysis in the time shown: out of range, shares that do not add up, more than its whole, not "
            "reported, below a limit.",
            Look(unit="none", width=24),
            sql(
                f"""SELECT window_start, period, indicator, data_point, site_id AS "site", kind, formula, finding,
                    exact AS "figure", unit, tracing_count AS "packets"
                FROM v_assessments WHERE {_OVERLAPPING} AND finding <> ''
                ORDER BY window_start DESC, indicator, site_id, kind, formula LIMIT 100"""
            ),
        ),
    ),
)

CITY = Board(
    uid="city-indicators",
    title="bkdms: city indicators",
    description="The values of a city's indicators, and what analysis makes of them.",
    parts=(_VALUES, _ANALYSIS),
    choices=CHOICES,
    since="now-30d",
    refresh="1m",
)
