"""Rows of the assessments table and the plain type that they stand for. Owns no statement and no connection."""

import json
from typing import Any, Final

from pipeline.core.assess import message
from pipeline.core.assess.model import Assessment

Row = dict[str, Any]
KEY: Final = (
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
"""Columns of the primary key, in the order of ``Assessment.key``."""


def key_row(key: tuple[Any, ...]) -> Row:
    """Return an assessment's key by column."""
    return dict(zip(KEY, key, strict=True))


def assessment_row(found: Assessment) -> Row:
    """Return the row of an assessment."""
    fields = message.fields_of(found)
    return fields | {"tracing_codes": json.dumps(fields["tracing_codes"])}


def assessment_of(row: Any) -> Assessment:
    """Return the assessment of a stored row, given by column.

    Raises:
        ValueError: a kind, period or finding is none of ours.
    """
    return message.assessment_of({**row, "tracing_codes": json.loads(row["tracing_codes"])})
