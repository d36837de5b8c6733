"""Tables of what was assessed: rows that follow from the store and the assessment plan, not from the ledger alone.

Written by the assess worker. Names and columns are part of what analysts use; change them by migration.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

ASSESSMENTS: Final = MetaData()
_TEXT_KEYS: Final = ("country", "city", "site_id", "indicator", "data_point", "kind", "formula")
_WINDOW: Final = ("window_start", "window_end")


def _key_columns() -> list[Column[Any]]:
    """Return the columns that tell one figure from all others; a window is GMT in milliseconds, its end exclusive."""
    return [
        *(Column(name, Text, primary_key=True) for name in _TEXT_KEYS),
        *(Column(name, BigInteger, primary_key=True, autoincrement=False) for name in _WINDOW),
    ]


assessments = Table(
    "assessments",
    ASSESSMENTS,
    *_key_columns(),
    Column("chain_id", Text, nullable=False),
    Column("window", Text, nullable=False, comment="hour, day, month or year"),
    Column("value", Double, nullable=False, comment="for arithmetic"),
    Column("exact", Text, nullable=False, comment="decimal"),
    Column("unit", Text, nullable=False),
    Column("achieved", BigInteger, nullable=False, comment="of what was possible, in the kind's own unit"),
    Column("possible", BigInteger, nullable=False),
    Column("quality", SmallInteger, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("finding", Text, nullable=False, comment="empty where there is nothing to look at"),
    Column("tracing_codes", Text, nullable=False, comment="JSON list, sorted, up to a bound"),
    Column("tracing_count", BigInteger, nullable=False, comment="of all codes that the figure rests on"),
    Column("tracing_digest", LargeBinary, nullable=False, comment="SHA-256 over all of them"),
    comment="One row per figure of analysis and assessment",
)
Index(
    "assessments_cell",
    assessments.c.country,
    assessments.c.city,
    assessments.c.window_start,
    assessments.c.window_end,
)
Index("assessments_time", assessments.c.window_start)

assessments_unsent = Table(
    "assessments_unsent",
    ASSESSMENTS,
    *_key_columns(),
    comment="Which assessments are still to be sent",
)

assess_position = Table(
    "assess_position",
    ASSESSMENTS,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("height", BigInteger, nullable=False, comment="blocks up to this one are assessed"),
    Column("plan", LargeBinary, nullable=False, comment="SHA-256 of plan and formulas in use"),
)
