"""Tables of the API's ledger view. They are rebuilt from the blocks, so they may change with any release."""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

from pipeline.adapters.sql.block_rows import block_columns
from pipeline.core.names import SiteName

VIEW: Final = MetaData()


def site_key(name: SiteName) -> str:
    """Return the key of a site in this database."""
    return f"{name.country}/{name.city}/{name.site_id.hex()}"


def _place_columns() -> list[Column[Any]]:
    names = ("height", "entry", "log_offset", "time_ms")
    return [Column(name, BigInteger, nullable=False) for name in names]


view_blocks = Table("blocks", VIEW, *block_columns(), Column("header", LargeBinary, nullable=False))

view_sites = Table(
    "sites", VIEW, Column("site", Text, primary_key=True), Column("active", Boolean, nullable=False)
)

view_packets = Table(
    "last_packets",
    VIEW,
    Column("site", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("packet_id", LargeBinary, nullable=False),
    Column("leaf_index", BigInteger, nullable=False),
    *_place_columns(),
)

view_controls = Table(
    "controls",
    VIEW,
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    Column("site", Text, nullable=False),
    Column("action", SmallInteger, nullable=False),
    *_place_columns(),
    Column("payload", LargeBinary, nullable=False),
)
Index("controls_site", view_controls.c.site, view_controls.c.action, view_controls.c.leaf_index)

view_position = Table(
    "position",
    VIEW,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)
