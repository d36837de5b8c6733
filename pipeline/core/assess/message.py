"""Assessments as records of their topic: key and framed value."""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any, Final

from pipeline.core import avro
from pipeline.core.assess.model import MAX_TRACING_CODES, Assessment, Finding, Kind, Period, Traces, Window
from pipeline.core.assess.nano import NANO, decimal_of, nano_of_text
from schemas import schema

ASSESSMENT: Final = schema("Assessment")
MAX_MESSAGE_BYTES: Final = 8 * 1024
"""More than any assessment takes: names are short and tracing codes bounded."""


def key_bytes(key: Iterable[Any]) -> bytes:
    """Return the Kafka key of the assessment with this ``Assessment.key``: its parts, joined by slashes."""
    return "/".join(map(str, key)).encode()


def assessment_key(assessment: Assessment) -> bytes:
    """Return the Kafka key of an assessment."""
    return key_bytes(assessment.key)


def assessment_value(assessment: Assessment) -> bytes:
    """Return the framed Assessment record."""
    return avro.frame(ASSESSMENT, avro.encode(ASSESSMENT, fields_of(assessment)))


def fields_of(assessment: Assessment) -> dict[str, Any]:
    """Return the fields of an assessment as the schema names them; the store's columns have these names, too."""
    return {
        "chain_id": assessment.chain_id,
        "country": assessment.country,
        "city": assessment.city,
        "site_id": assessment.site_id,
        "indicator": assessment.indicator,
        "data_point": assessment.data_point,
        "kind": assessment.kind.value,
        "formula": assessment.formula,
        "window": assessment.window.period.value,
        "window_start": assessment.window.start,
        "window_end": assessment.window.end,
        "value": float(assessment.value),
        "exact": assessment.exact,
        "unit": assessment.unit,
        "achieved": assessment.achieved,
        "possible": assessment.possible,
        "quality": assessment.quality,
        "verified": assessment.verified,
        "finding": assessment.finding.value,
        "tracing_codes": list(assessment.traces.codes),
        "tracing_count": assessment.traces.count,
        "tracing_digest": assessment.traces.digest,
    }


def parse_assessment(value: bytes) -> Assessment | None:
    """Return the assessment that a framed record canonically holds, or None. Total."""
    if len(value) > MAX_MESSAGE_BYTES:
        return None
    raw = avro.unframe(ASSESSMENT, value)
    if raw is None:
        return None
    try:
        parsed = assessment_of(raw)
    except (ValueError, ArithmeticError):
        return None
    return parsed if fields_of(parsed) == raw and is_consistent(parsed) else None


def assessment_of(fields: dict[str, Any]) -> Assessment:
    """Return the assessment of some fields, named as ``fields_of`` does.

    Raises:
        ValueError: a kind, period or finding is none of ours.
        ArithmeticError: the exact value is no decimal.
    """
    return Assessment(
        fields["chain_id"],
        fields["country"],
        fields["city"],
        fields["site_id"],
        fields["indicator"],
        fields["data_point"],
        Kind(fields["kind"]),
        fields["formula"],
        Window(Period(fields["window"]), fields["window_start"], fields["window_end"]),
        Decimal(fields["exact"]),
        fields["unit"],
        fields["achieved"],
        fields["possible"],
        fields["quality"],
        fields["verified"],
        Finding(fields["finding"]),
        Traces(tuple(fields["tracing_codes"]), fields["tracing_count"], fields["tracing_digest"]),
    )


def is_consistent(assessment: Assessment) -> bool:
    """Tell whether an assessment's parts fit each other, and whether its value is in its one form."""
    traces = assessment.traces
    nano = nano_of_text(assessment.exact)
    if assessment.window.start >= assessment.window.end or nano is None:
        return False
    if assessment.exact != f"{decimal_of(Fraction(nano, NANO)):f}":
        return False
    if not 0 <= assessment.achieved <= assessment.possible:
        return False
    if len(traces.codes) != min(traces.count, MAX_TRACING_CODES) or list(traces.codes) != sorted(
        set(traces.codes)
    ):
        return False
    if traces.count > MAX_TRACING_CODES:
        return True
    return sha256("".join(f"{code}\n" for code in traces.codes).encode()).digest() == traces.digest
