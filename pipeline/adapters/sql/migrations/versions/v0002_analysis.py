"""For analysts: assessments, indexes on observations, and views with readable times and hashes."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, SmallInteger, Text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEXT_KEYS = ("country", "city", "site_id", "indicator", "data_point", "kind", "formula")


def upgrade() -> None:
    """Create tables, indexes and views."""
    _assessments()
    _indexes()
    for name, query in views(op.get_context().dialect.name).items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def _assessments() -> None:
    def keys() -> list[Column[Any]]:
        windows = ("window_start", "window_end")
        return [
            *(Column(name, Text, primary_key=True) for name in _TEXT_KEYS),
            *(Column(name, BigInteger, primary_key=True, autoincrement=False) for name in windows),
        ]

    op.create_table(
        "assessments",
        *keys(),
        Column("chain_id", Text, nullable=False),
        Column("window", Text, nullable=False, comment="hour, day, month or year"),
        Column("value", Double, nullable=False, comment="for arithmetic"),
        Column("exact", Text, nullable=False, comment="decimal"),
        Column("unit", Text, nullable=False),
        Column(
            "achieved", BigInteger, nullable=False, comment="of what was possible, in the kind's own unit"
        ),
        Column("possible", BigInteger, nullable=False),
        Column("quality", SmallInteger, nullable=False),
        Column("verified", Boolean, nullable=False),
        Column("finding", Text, nullable=False, comment="empty where there is nothing to look at"),
        Column("tracing_codes", Text, nullable=False, comment="JSON list, sorted, up to a bound"),
        Column("tracing_count", BigInteger, nullable=False, comment="of all codes that the figure rests on"),
        Column("tracing_digest", LargeBinary, nullable=False, comment="SHA-256 over all of them"),
        comment="One row per figure of analysis and assessment",
    )
    op.create_table("assessments_unsent", *keys(), comment="Which assessments are still to be sent")
    op.create_table(
        "assess_position",
        Column("one", Integer, primary_key=True, autoincrement=False),
        Column("height", BigInteger, nullable=False, comment="blocks up to this one are assessed"),
        Column("plan", LargeBinary, nullable=False, comment="SHA-256 of plan and formulas in use"),
    )


def _indexes() -> None:
    op.create_index("assessments_cell", "assessments", ["country", "city", "window_start", "window_end"])
    op.create_index("assessments_time", "assessments", ["window_start"])
    op.create_index("observations_city_time", "observations", ["country", "city", "time"])
    if op.get_context().dialect.name == "postgresql":
        observed_at = f"({_time_pg('time')})"
        op.execute(f"CREATE INDEX observations_indicator ON observations (indicator, city, {observed_at})")
        # Rows come about in the order of time, so that an index this small finds a range of it.
        op.execute(f"CREATE INDEX observations_observed_at ON observations USING brin ({observed_at})")


def _time_pg(column: str, unit: int = 1000) -> str:
    return f"to_timestamp({column} / {unit}::double precision)"


def _time_sqlite(column: str, unit: int = 1000) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {column} / {unit}.0, 'unixepoch')"


def views(dialect: str) -> dict[str, str]:
    """Return the query of each view by its name, for ``postgresql`` or ``sqlite``."""
    is_pg = dialect == "postgresql"
    time = _time_pg if is_pg else _time_sqlite

    def hexed(column: str) -> str:
        return f"encode({column}, 'hex')" if is_pg else f"lower(hex({column}))"

    def listed(column: str) -> str:
        return f"{column}::jsonb" if is_pg else column

    return {
        # An outer join over a unique key costs nothing where nobody asks for its column.
        "v_observations": f"""
SELECT {time("o.time")} AS observed_at, o.country, o.city, o.site_id, o.indicator, o.data_point, o.value,
  o.exact, o.unit, o.sensor, o.quality, o.source, o.tracing_code, o.record, o.number, r.height,
  o.time AS time_ms
FROM observations AS o LEFT JOIN kpi_records AS r ON r.tracing_code = o.tracing_code""",
        "v_kpi_records": f"""
SELECT tracing_code, height, entry, country, city, site_id, module_id, sequence,
  {time("collected_from")} AS collected_from, {time("collected_to")} AS collected_to,
  {time("admitted")} AS admitted, record_count, status, reason, chain_id, data_offset, data_length,
  block_offset, block_length, {hexed("check_code")} AS check_code, {hexed("packet_id")} AS packet_id, log_offset
FROM kpi_records""",
        "v_blocks": f"""
SELECT b.height, b.part, {time("b.period_start")} AS period_start, {time("b.period_end")} AS period_end,
  b.entries, (SELECT count(*) FROM kpi_records AS r WHERE r.height = b.height) AS packets,
  b.first_index, b.tree_size, {hexed("b.hash")} AS hash,
  {hexed("coalesce(p.hash, CASE b.height WHEN 1 THEN (SELECT chain FROM chain_identity) END)")} AS previous_hash,
  {hexed("b.root")} AS root, b.block_offset, b.block_length,
  {time("b.certified_first", 1)} AS certified_first, b.kafka_offset
FROM blocks AS b LEFT JOIN blocks AS p ON p.height = b.height - 1""",
        "v_sites": f"""
SELECT country, city, site_id, active, {hexed("site_key")} AS site_key, {listed("indicators")} AS indicators,
  {listed("equipment")} AS equipment, height
FROM sites""",
        "v_assessments": f"""
SELECT {time("window_start")} AS window_start, {time("window_end")} AS window_end, country, city, site_id,
  "window" AS period, indicator, data_point, kind, formula, value, exact, unit, achieved, possible, quality,
  verified, finding, tracing_count,
  {listed("tracing_codes")} AS tracing_codes, {hexed("tracing_digest")} AS tracing_digest, chain_id
FROM assessments""",
    }
