"""Tables of the platform's store. Names and columns are part of what analysts use; change them by migration.

Hashes and packets are bytes, times GMT in milliseconds unless a name says otherwise, site identifiers IP addresses.
"""

from typing import Final

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

from pipeline.adapters.sql.block_rows import block_columns

PLATFORM: Final = MetaData()


def _required(name: str, kind: type) -> Column[object]:
    return Column(name, kind, nullable=False)


kpi_records = Table(
    "kpi_records",
    PLATFORM,
    Column("tracing_code", Text, primary_key=True, comment="locates the packet: chain, height, entry"),
    _required("height", BigInteger),
    _required("entry", BigInteger),
    _required("data_offset", BigInteger),
    _required("data_length", BigInteger),
    _required("block_offset", BigInteger),
    _required("block_length", BigInteger),
    Column("city_data", LargeBinary, nullable=False, comment="the packet, exactly as the site sent it"),
    _required("chain_id", Text),
    Column("check_code", LargeBinary, nullable=False, comment="leaf hash of the packet"),
    _required("country", Text),
    _required("city", Text),
    _required("site_id", Text),
    _required("module_id", Text),
    _required("sequence", BigInteger),
    _required("packet_id", LargeBinary),
    _required("collected_from", BigInteger),
    _required("collected_to", BigInteger),
    _required("record_count", BigInteger),
    _required("log_offset", BigInteger),
    Column("admitted", BigInteger, nullable=False, comment="broker time of admission"),
    Column("status", Text, nullable=False, comment="ok, mismatch or unopened"),
    Column("reason", Text, nullable=False, comment="empty where status is ok"),
    comment="Y.4907 Table 10-3, one row per packet",
)
Index("kpi_records_place", kpi_records.c.height, kpi_records.c.entry, unique=True)
Index(
    "kpi_records_site",
    kpi_records.c.country,
    kpi_records.c.city,
    kpi_records.c.site_id,
    kpi_records.c.sequence,
    unique=True,
)

observations = Table(
    "observations",
    PLATFORM,
    Column("tracing_code", Text, primary_key=True),
    Column("record", Integer, primary_key=True, comment="index of the unified record in the packet"),
    Column("number", Integer, primary_key=True, comment="index of the value in the record"),
    _required("time", BigInteger),
    _required("indicator", Text),
    _required("data_point", Text),
    Column("exact", Text, nullable=False, comment="decimal; its decimal places are the record's scale"),
    Column("value", Double, nullable=False, comment="for arithmetic"),
    _required("unit", Text),
    _required("sensor", Text),
    _required("quality", SmallInteger),
    _required("source", Text),
    _required("country", Text),
    _required("city", Text),
    Column("site_id", Text, nullable=False, comment="of the record: the site, or equipment granted to it"),
    comment="One row per indicator value, in clear",
    sqlite_with_rowid=False,
)
Index("observations_city_time", observations.c.country, observations.c.city, observations.c.time)

openings = Table(
    "openings",
    PLATFORM,
    Column("tracing_code", Text, primary_key=True),
    Column("seed", LargeBinary, nullable=False, comment="of the salts under the packet's digest"),
    comment="What with the observations gives the digest that the site signed",
)

blocks = Table("blocks", PLATFORM, *block_columns(), comment="One row per certified block")

sites = Table(
    "sites",
    PLATFORM,
    Column("country", Text, primary_key=True),
    Column("city", Text, primary_key=True),
    Column("site_id", Text, primary_key=True),
    _required("active", Boolean),
    _required("site_key", LargeBinary),
    Column("indicators", Text, nullable=False, comment="JSON list of granted indicators"),
    Column("equipment", Text, nullable=False, comment="JSON list of granted equipment, IP addresses"),
    Column("height", BigInteger, nullable=False, comment="block of the last change"),
    comment="Registry of sampling sites after the last block",
)

platform_position = Table(
    "platform_position",
    PLATFORM,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False, comment="of the blocks topic"),
    Column(
        "published_height", BigInteger, nullable=False, comment="last packet whose observations were sent"
    ),
    _required("published_entry", BigInteger),
)
