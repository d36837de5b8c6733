"""All figures of one small city and day, reckoned from the formulas in the documentation alone.

Imports nothing of the pipeline. ``python -m tests.vectors.generate_assessments`` writes the file.
"""

import json
from decimal import Decimal, localcontext
from fractions import Fraction
from hashlib import sha256
from typing import Any

from tests.vectors import plain_core as plain
from tests.vectors.core_world import FOLDER, URL

NAME = "assessments.json"
DAY = 1_746_057_600_000  # 2025-05-01, GMT
HOUR = 3_600_000
COUNTRY, CITY, FLOW_SITE, OFFICE = "US", "unlocode:USMES", "10.0.0.1", "fd62::2"
FLOW, BASIC, POTABLE = "LOCAL:WATER_FLOW", "EC: I: WS: 1C", "EC: I: WS: 2C"
PLACES = ("Economy", "Economy > Infrastructure", "Economy > Infrastructure > Water and Sanitation")
PLAN = {
    "cities": [
        {
            "country": COUNTRY,
            "city": CITY,
            "windows": ["day"],
            "scored": "day",
            "report": [BASIC, POTABLE, "EC: I: T: 5A"],
            "limits": {"completeness": "80"},
            "series": [
                {
                    "site_id": FLOW_SITE,
                    "indicator": FLOW,
                    "interval": "1h",
                    "until": "2025-05-01T04:00:00Z",
                    "lateness": "10m",
                    "high": "100",
                    "values": ["mean"],
                }
            ],
            "targets": [{"indicator": POTABLE, "start": "50", "target": "110"}],
        }
    ]
}
Row = dict[str, Any]


def rows() -> list[Row]:
    """Return the day's rows: three readings of a flow, one of them below zero, and two percentages."""
    readings = [("9XH0-1-0-A", 0, "10", 1), ("9XH0-1-0-A", 1, "10.000000001", 2), ("9XH0-2-0-B", 3, "-1", 1)]
    flow = [
        {
            "tracing_code": code,
            "record": hour,
            "number": 0,
            "time": DAY + hour * HOUR,
            "admitted": DAY + 7 * HOUR // 6,
            "site_id": FLOW_SITE,
            "indicator": FLOW,
            "data_point": "",
            "exact": exact,
            "unit": "G51",
            "quality": quality,
        }
        for code, hour, exact, quality in readings
    ]
    reported = [
        {
            "tracing_code": "9XH0-3-0-C",
            "record": 0,
            "number": number,
            "time": DAY + 12 * HOUR,
            "admitted": DAY + 12 * HOUR,
            "site_id": OFFICE,
            "indicator": indicator,
            "data_point": "",
            "exact": exact,
            "unit": "P1",
            "quality": 3,
        }
        for number, (indicator, exact) in enumerate(((BASIC, "97.5"), (POTABLE, "98")))
    ]
    return flow + reported


def exact_text(value: Fraction) -> str:
    """Return a value rounded half to even at nine decimals, without trailing zeros."""
    with localcontext() as context:
        context.prec = 60
        rounded = (Decimal(value.numerator) / value.denominator).quantize(Decimal("1E-9"))
        text = f"{rounded:f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def figure(
    subject: tuple[str, str], what: str, value: Fraction | int, share: tuple[int, int], **more: Any
) -> Row:
    """Return one figure; ``what`` is kind and formula, ``more`` what differs from a good figure in per cent."""
    kind, formula = what.split("/")
    codes = sorted(more.pop("codes"))
    return {
        "chain_id": URL,
        "country": COUNTRY,
        "city": CITY,
        "site_id": subject[0],
        "indicator": subject[1],
        "data_point": "",
        "kind": kind,
        "formula": formula,
        "window": "day",
        "window_start": DAY,
        "window_end": DAY + 24 * HOUR,
        "value": float(exact_text(Fraction(value))),
        "exact": exact_text(Fraction(value)),
        "unit": "P1",
        "achieved": share[0],
        "possible": share[1],
        "quality": 2,
        "verified": True,
        "finding": "",
        "tracing_codes": codes,
        "tracing_count": len(codes),
        "tracing_digest": sha256("".join(code + "\n" for code in codes).encode()).digest(),
    } | more


def share(subject: tuple[str, str], what: str, achieved: int, possible: int, **more: Any) -> Row:
    """Return a figure that is so many of so many."""
    return figure(subject, what, Fraction(100 * achieved, possible), (achieved, possible), **more)


def of_the_flow() -> list[Row]:
    """Return the figures of the flow: three of four hours, two of them valid, one in time."""
    series, every, valid = (FLOW_SITE, FLOW), ["9XH0-1-0-A", "9XH0-2-0-B"], ["9XH0-1-0-A"]
    mean = (Fraction(10) + Fraction("10.000000001")) / 2
    return [
        share(series, "completeness/filled_slots", 3, 4, codes=every, verified=False, finding="below_limit"),
        share(series, "timeliness/in_time", 2, 3, codes=every, verified=False),
        share(series, "validity/meets_definition", 2, 3, codes=every, verified=False),
        share(series, "traceability/stated_source", 3, 3, codes=every, verified=False),
        share(series, "plausibility/plausible_range", 2, 2, codes=valid),
        *(
            share(subject, "availability/usable_slots", 2, 4, codes=valid)
            for subject in (series, (FLOW_SITE, ""), ("", ""))
        ),
        figure(series, "value/mean", mean, (2, 3), codes=valid, unit="G51"),
    ]


def of_the_office() -> list[Row]:
    """Return the figures of the two percentages: more potable than basic water contradicts itself."""
    some: dict[str, Any] = {"codes": ["9XH0-3-0-C"], "quality": 3}
    doubt = some | {"verified": False}
    wrong = doubt | {"finding": "more_than_its_whole"}
    found = [share(("", POTABLE), "plausibility/part_of_whole", 0, 1, **wrong)]
    for indicator, value in ((BASIC, Fraction("97.5")), (POTABLE, Fraction(98))):
        found += [
            share((OFFICE, indicator), "validity/meets_definition", 1, 1, **some),
            share((OFFICE, indicator), "traceability/stated_source", 1, 1, **some),
            figure((OFFICE, indicator), "value/last", value, (1, 1), **some),
            figure(("", indicator), "value/mean_of_sites", value, (1, 1), **wrong),
        ]
    way = 100 * (Fraction(98) - 50) / (110 - 50)
    found.append(figure(("", POTABLE), "target/percent_of_target", way, (3, 4), **doubt))
    found += [share(("", place), "score/points_of_maximum", 3, 4, **doubt) for place in PLACES]
    found.append(share(("", ""), "reporting/reported", 2, 3, **doubt | {"finding": "not_reported"}))
    return found


def record(fields: Row) -> Row:
    """Return a figure as its topic has it: key and framed value."""
    parts = (
        "country",
        "city",
        "site_id",
        "indicator",
        "data_point",
        "kind",
        "formula",
        "window_start",
        "window_end",
    )
    return {
        "key": "/".join(str(fields[name]) for name in parts),
        "fields": fields | {"tracing_digest": fields["tracing_digest"].hex()},
        "value": plain.framed("Assessment", plain.avro("Assessment", fields)).hex(),
    }


def files() -> dict[str, str]:
    """Return name and content of the vector file; figures in order of their keys."""
    figures = of_the_flow() + of_the_office()
    figures.sort(key=lambda one: (one["site_id"], one["indicator"], one["kind"], one["formula"]))
    content = {
        "chain_id": URL,
        "country": COUNTRY,
        "city": CITY,
        "plan": PLAN,
        "rows": rows(),
        "figures": [record(one) for one in figures],
    }
    return {NAME: json.dumps(content, indent=1) + "\n"}


if __name__ == "__main__":
    for file_name, text in files().items():
        (FOLDER / file_name).write_text(text)
