"""What follows from the ledger: Table 10-3 records, observations, blocks, sites, chain state, position.

The same as release 0.1.0 made without migrations.
"""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, SmallInteger, Text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _columns(kind: type, *names: str) -> list[Column[object]]:
    return [Column(name, kind, nullable=False) for name in names]


def upgrade() -> None:
    """Create the tables and their indexes."""
    _kpi_records()
    _observations()
    _blocks_and_sites()
    _state()


def _kpi_records() -> None:
    op.create_table(
        "kpi_records",
        Column("tracing_code", Text, primary_key=True, comment="locates the packet: chain, height, entry"),
        *_columns(
            BigInteger, "height", "entry", "data_offset", "data_length", "block_offset", "block_length"
        ),
        Column("city_data", LargeBinary, nullable=False, comment="the packet, exactly as the site sent it"),
        *_columns(Text, "chain_id"),
        Column("check_code", LargeBinary, nullable=False, comment="leaf hash of the packet"),
        *_columns(Text, "country", "city", "site_id", "module_id"),
        *_columns(BigInteger, "sequence"),
        *_columns(LargeBinary, "packet_id"),
        *_columns(BigInteger, "collected_from", "collected_to", "record_count", "log_offset"),
        Column("admitted", BigInteger, nullable=False, comment="broker time of admission"),
        Column("status", Text, nullable=False, comment="ok, mismatch or unopened"),
        Column("reason", Text, nullable=False, comment="empty where status is ok"),
        comment="Y.4907 Table 10-3, one row per packet",
    )
    op.create_index("kpi_records_place", "kpi_records", ["height", "entry"], unique=True)
    op.create_index(
        "kpi_records_site", "kpi_records", ["country", "city", "site_id", "sequence"], unique=True
    )


def _observations() -> None:
    op.create_table(
        "observations",
        Column("tracing_code", Text, primary_key=True),
        Column("record", Integer, primary_key=True, comment="index of the unified record in the packet"),
        Column("number", Integer, primary_key=True, comment="index of the value in the record"),
        *_columns(BigInteger, "time"),
        *_columns(Text, "indicator", "data_point"),
        Column("exact", Text, nullable=False, comment="decimal; its decimal places are the record's scale"),
        Column("value", Double, nullable=False, comment="for arithmetic"),
        *_columns(Text, "unit", "sensor"),
        *_columns(SmallInteger, "quality"),
        *_columns(Text, "source", "country", "city"),
        Column(
            "site_id", Text, nullable=False, comment="of the record: the site, or equipment granted to it"
        ),
        comment="One row per indicator value, in clear",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "openings",
        Column("tracing_code", Text, primary_key=True),
        Column("seed", LargeBinary, nullable=False, comment="of the salts under the packet's digest"),
        comment="What with the observations gives the digest that the site signed",
    )


def _blocks_and_sites() -> None:
    op.create_table(
        "blocks",
        Column("height", BigInteger, primary_key=True, autoincrement=False),
        *_columns(LargeBinary, "hash"),
        *_columns(BigInteger, "first_index"),
        Column("tree_size", BigInteger, nullable=False, unique=True),
        Column("root", LargeBinary, nullable=False, comment="of the tree after the block"),
        *_columns(
            BigInteger, "period_start", "period_end", "part", "entries", "block_offset", "block_length"
        ),
        *_columns(LargeBinary, "certificate"),
        Column("certified_first", BigInteger, nullable=False, comment="earliest cosignature, in seconds"),
        *_columns(BigInteger, "kafka_offset"),
        comment="One row per certified block",
    )
    op.create_table(
        "sites",
        *(Column(name, Text, primary_key=True) for name in ("country", "city", "site_id")),
        *_columns(Boolean, "active"),
        *_columns(LargeBinary, "site_key"),
        Column("indicators", Text, nullable=False, comment="JSON list of granted indicators"),
        Column("equipment", Text, nullable=False, comment="JSON list of granted equipment, IP addresses"),
        Column("height", BigInteger, nullable=False, comment="block of the last change"),
        comment="Registry of sampling sites after the last block",
    )


def _state() -> None:
    op.create_table(
        "platform_position",
        Column("one", Integer, primary_key=True, autoincrement=False),
        Column("next_offset", BigInteger, nullable=False, comment="of the blocks topic"),
        Column(
            "published_height", BigInteger, nullable=False, comment="last packet whose observations were sent"
        ),
        *_columns(BigInteger, "published_entry"),
    )
    op.create_table(
        "chain_state",
        *(Column(name, Text, primary_key=True) for name in ("part", "key")),
        *_columns(Text, "value"),
    )
    op.create_table(
        "chain_identity", Column("one", Integer, primary_key=True), *_columns(LargeBinary, "chain")
    )
    op.create_table(
        "chain_head",
        Column("one", Integer, primary_key=True),
        *_columns(BigInteger, "height"),
        *_columns(LargeBinary, "block_hash", "frontier"),
        *_columns(BigInteger, "incarnation", "next_offset", "period_start", "part", "chain_bytes"),
    )
